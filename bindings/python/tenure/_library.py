"""libtenure by ctypes: its types and functions as tenure.h has them. The tests compare the two."""

import ctypes
import functools
import os
from ctypes import POINTER, Structure, c_char, c_char_p, c_int, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from operator import index

ABI_VERSION = 4


@functools.lru_cache(maxsize=256)
def array(size):
    """The type of so many bytes. ctypes forgets a type when nothing is of it any more, and making one takes longer than most calls."""
    return c_char * size


def _range(kind):
    bits = 8 * ctypes.sizeof(kind)
    signed = kind(-1).value < 0
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)


_RANGES = {kind: _range(kind) for kind in (c_int, c_int32, c_size_t, c_uint32, c_uint64)}


def number(kind, value):
    """A number for C, which ctypes would cut to the bits that there are."""
    value = index(value)
    least, most = _RANGES[kind]
    if not least <= value <= most:
        raise OverflowError(f"expected {least} to {most}, found {value}")
    return value


def text(value):
    """A string for C, which would end at the first zero byte. Buffers and None are left alone."""
    if isinstance(value, bytes) and 0 in value:
        raise ValueError(f"a string for C has no zero byte, this one does: {value!r}")
    return value


class Options(Structure):
    """tenure_options."""

    _fields_ = [
        ("abi", c_uint32),
        ("backend", c_uint32),
        ("flags", c_uint32),
        ("members", c_uint32),
        ("handles", c_uint32),
        ("generation_bits", c_uint32),
        ("scratch_bytes", c_uint64),
        ("unit_bytes", c_uint32),
        ("mode", c_uint32),
        ("owner", c_uint32),
        ("group", c_uint32),
        ("slots", c_uint32),
        ("container_slots", c_uint32),
    ]

    def __init__(self, *values):
        kinds = (kind for _, kind in self._fields_)
        super().__init__(*(number(kind, value) for kind, value in zip(kinds, values)))


class Info(Structure):
    """tenure_info."""

    _fields_ = [
        ("backend", c_uint32),
        ("created", c_uint32),
        ("members", c_uint32),
        ("handles", c_uint32),
        ("generation_bits", c_uint32),
        ("unit_bytes", c_uint32),
        ("scratch_bytes", c_uint64),
        ("bytes", c_uint64),
        ("slots", c_uint32),
        ("container_slots", c_uint32),
    ]


class Stats(Structure):
    """tenure_stats."""

    _fields_ = [
        (name, c_uint64)
        for name in (
            "members_live handles_live handles_claimed handles_retired handles_capacity blocks_leased blocks_attached "
            "blocks_pinned bytes_live bytes_owned bytes_committed bytes_capacity"
        ).split()
    ]


class Handle(Structure):
    """tenure_handle."""

    _fields_ = [("token", c_uint64), ("data", c_void_p), ("size", c_size_t)]


class Bytes(Structure):
    """tenure_bytes."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Block(Structure):
    """tenure_block."""

    _fields_ = [("offset", c_uint64), ("data", c_void_p), ("size", c_size_t)]


class Name(Structure):
    """tenure_name."""

    _fields_ = [("token", c_uint64), ("kind", c_uint64), ("holders", c_uint32), ("name", c_char * 256)]


class Membership(Structure):
    """tenure_membership."""

    _fields_ = [("lease", c_uint64), ("pid", c_uint32), ("alive", c_uint32)]


class Exit(Structure):
    """tenure_exit."""

    _fields_ = [("how", c_uint32), ("code", c_int32), ("core_dumped", c_uint32)]


class WaitDone(Structure):
    """tenure_wait_done."""

    _fields_ = [("tag", c_uint64), ("status", c_int32), ("permit", c_uint64), ("handle", Handle)]


class Conflict(Structure):
    """tenure_conflict."""

    _fields_ = [
        ("lease", c_uint64),
        ("pid", c_uint32),
        ("access", c_uint32),
        ("sharing", c_uint32),
        ("reserved", c_uint32),
    ]


STRUCTURES = {
    "tenure_options": Options,
    "tenure_info": Info,
    "tenure_stats": Stats,
    "tenure_handle": Handle,
    "tenure_block": Block,
    "tenure_bytes": Bytes,
    "tenure_name": Name,
    "tenure_membership": Membership,
    "tenure_exit": Exit,
    "tenure_wait_done": WaitDone,
    "tenure_conflict": Conflict,
}

# Spaces, members, locals and objects are numbers that the library checks; c_void_p carries them.
_local = (c_void_p,)
_new = POINTER(c_void_p)
_word = (c_void_p, c_uint32, c_uint64, c_size_t)
_key = (c_void_p, c_void_p, c_size_t)
FUNCTIONS = {
    "tenure_space_open": (POINTER(Options), c_char_p, POINTER(c_void_p)),
    "tenure_space_attach": (POINTER(Options), c_char_p, POINTER(c_void_p)),
    "tenure_space_attach_fd": (POINTER(Options), c_int, POINTER(c_void_p)),
    "tenure_space_close": (c_void_p,),
    "tenure_space_info": (c_void_p, POINTER(Info)),
    "tenure_space_fd": (c_void_p, POINTER(c_int)),
    "tenure_space_path": (c_void_p, c_char_p, c_size_t, POINTER(c_size_t)),
    "tenure_space_name_state": (c_void_p, POINTER(c_uint32)),
    "tenure_space_stats": (c_void_p, POINTER(Stats)),
    "tenure_space_members": (c_void_p, POINTER(Membership), c_size_t, POINTER(c_size_t)),
    "tenure_space_check": (c_void_p, c_char_p, c_size_t, POINTER(c_size_t), POINTER(c_size_t)),
    "tenure_space_remove": (c_uint32, c_char_p, c_int),
    "tenure_join": (c_void_p, POINTER(c_void_p)),
    "tenure_leave": (c_void_p,),
    "tenure_lease": (c_void_p, POINTER(c_uint64)),
    "tenure_recover": (c_void_p, POINTER(c_size_t)),
    "tenure_trim": (c_void_p, POINTER(c_uint64)),
    "tenure_monitor": (c_void_p, POINTER(c_int)),
    "tenure_local_open": (c_void_p, POINTER(c_void_p)),
    "tenure_local_open_unbound": (c_void_p, POINTER(c_void_p)),
    "tenure_local_close": _local,
    "tenure_create": (*_local, c_uint32, c_void_p, c_size_t, POINTER(Handle)),
    "tenure_create_zeroed": (*_local, c_uint32, c_size_t, c_size_t, POINTER(Handle)),
    "tenure_create_with": (*_local, c_uint32, c_uint64, c_size_t, POINTER(Handle)),
    "tenure_open": (*_local, c_uint32, c_uint64, POINTER(Handle)),
    "tenure_get": (*_local, c_uint32, c_uint64, POINTER(Handle)),
    "tenure_close": (*_local, c_uint64),
    "tenure_alloc": (*_local, c_size_t, c_size_t, POINTER(Block)),
    "tenure_alloc_zeroed": (*_local, c_size_t, c_size_t, POINTER(Block)),
    "tenure_realloc": (*_local, c_uint64, c_size_t, c_size_t, POINTER(Block)),
    "tenure_free": (*_local, c_uint64),
    "tenure_free_of": (*_local, c_uint64, c_uint64),
    "tenure_block_at": (*_local, c_uint64, POINTER(Block)),
    "tenure_block_of": (*_local, c_uint64, c_uint64, POINTER(Block)),
    "tenure_pin": (*_local, c_uint64),
    "tenure_free_pinned": (*_local, c_uint64),
    "tenure_word_load": (*_word, POINTER(c_uint64)),
    "tenure_word_store": (*_word, c_uint64),
    "tenure_word_add": (*_word, c_uint64, POINTER(c_uint64)),
    "tenure_word_exchange": (*_word, POINTER(c_uint64), c_uint64, POINTER(c_int)),
    "tenure_object_open": (c_void_p, c_uint32, c_uint64, _new),
    "tenure_object_open_named": (c_void_p, c_uint32, c_char_p, _new),
    "tenure_object_token": (c_void_p, POINTER(c_uint64)),
    "tenure_object_kind_of": (c_void_p, POINTER(c_uint32)),
    "tenure_object_close": (c_void_p,),
    "tenure_mutex_create": (c_void_p, c_char_p, c_uint32, _new),
    "tenure_mutex_lock": (c_void_p, c_uint64),
    "tenure_mutex_unlock": (c_void_p,),
    "tenure_rwlock_create": (c_void_p, c_char_p, c_uint32, _new),
    "tenure_rwlock_read": (c_void_p, c_uint64),
    "tenure_rwlock_unlock_read": (c_void_p,),
    "tenure_rwlock_write": (c_void_p, c_uint64),
    "tenure_rwlock_unlock_write": (c_void_p,),
    "tenure_condvar_create": (c_void_p, c_char_p, c_uint32, _new),
    "tenure_condvar_wait": (c_void_p, c_void_p, c_uint32, c_uint64),
    "tenure_condvar_notify": (c_void_p,),
    "tenure_permits_create": (c_void_p, c_char_p, c_uint32, c_uint32, _new),
    "tenure_permits_acquire": (c_void_p, c_uint32, c_uint64, POINTER(c_uint64)),
    "tenure_permits_give_back": (c_void_p, c_uint64),
    "tenure_permits_count": (c_void_p, POINTER(c_uint32), POINTER(c_uint32)),
    "tenure_rwlock_abandon": (c_void_p,),
    "tenure_rwlock_read_with": (c_void_p, c_uint32, c_uint64, POINTER(c_int)),
    "tenure_rwlock_write_with": (c_void_p, c_uint32, c_uint64, POINTER(c_int)),
    "tenure_mutex_abandon": (c_void_p,),
    "tenure_mutex_is_recursive": (c_void_p, POINTER(c_int)),
    "tenure_mutex_owner": (c_void_p, POINTER(c_int), POINTER(c_uint32), POINTER(c_uint32)),
    "tenure_event_create": (c_void_p, c_char_p, c_uint32, _new),
    "tenure_event_set": (c_void_p,),
    "tenure_event_reset": (c_void_p, POINTER(c_int)),
    "tenure_event_is_set": (c_void_p, POINTER(c_int)),
    "tenure_semaphore_create": (c_void_p, c_char_p, c_uint32, c_uint32, c_uint32, _new),
    "tenure_semaphore_release": (c_void_p, c_uint32, POINTER(c_uint32)),
    "tenure_semaphore_count": (c_void_p, POINTER(c_uint32), POINTER(c_uint32)),
    "tenure_wait": (c_void_p, c_uint64),
    "tenure_wait_any": (POINTER(c_void_p), c_size_t, c_uint64, POINTER(c_size_t)),
    "tenure_wait_all": (POINTER(c_void_p), c_size_t, c_uint64, POINTER(c_uint64)),
    "tenure_wait_with": (
        POINTER(c_void_p),
        c_size_t,
        c_uint32,
        c_uint64,
        POINTER(c_size_t),
        POINTER(c_uint64),
    ),
    "tenure_create_named": (*_local, c_char_p, c_uint32, c_uint32, c_void_p, c_size_t, POINTER(Handle)),
    "tenure_open_named": (*_local, c_char_p, c_uint32, POINTER(Handle)),
    "tenure_look_up": (c_void_p, c_char_p, POINTER(c_uint64), POINTER(c_uint64)),
    "tenure_space_names": (c_void_p, POINTER(Name), c_size_t, POINTER(c_size_t)),
    "tenure_slot_put": (*_local, c_uint32, c_uint32, c_uint64),
    "tenure_slot_keep": (*_local, c_uint32, c_uint64, POINTER(c_uint32)),
    "tenure_slot_keep_object": (c_void_p, POINTER(c_uint32)),
    "tenure_slot_replace": (*_local, c_uint32, c_uint32, c_uint64, POINTER(c_uint64)),
    "tenure_slot_take": (*_local, c_uint32, c_uint32, POINTER(Handle)),
    "tenure_slot_claim": (*_local, c_uint32, c_uint32, POINTER(Handle)),
    "tenure_slot_ack": (*_local, c_uint32, c_uint32, c_uint64),
    "tenure_slot_give_back": (*_local, c_uint32, c_uint32, c_uint64),
    "tenure_slot_evict": (*_local, c_uint32, POINTER(c_uint64)),
    "tenure_slot_find": (*_local, c_uint64, POINTER(c_uint32)),
    "tenure_locked_create": (c_void_p, c_char_p, c_uint32, c_uint64, c_void_p, c_size_t, _new),
    "tenure_locked_open": (c_void_p, c_uint64, c_uint64, _new),
    "tenure_locked_open_named": (c_void_p, c_uint64, c_char_p, _new),
    "tenure_locked_lock": (c_void_p, c_uint32, c_uint64, POINTER(c_void_p)),
    "tenure_locked_unlock": (c_void_p,),
    "tenure_locked_repaired": (c_void_p,),
    "tenure_locked_abandon": (c_void_p,),
    "tenure_versioned_create": (c_void_p, c_char_p, c_uint32, c_uint64, c_void_p, c_size_t, _new),
    "tenure_versioned_open": (c_void_p, c_uint64, c_uint64, _new),
    "tenure_versioned_open_named": (c_void_p, c_uint64, c_char_p, _new),
    "tenure_versioned_read": (c_void_p, c_void_p, c_size_t, POINTER(c_uint64)),
    "tenure_versioned_write": (c_void_p, c_void_p, c_size_t, POINTER(c_uint64)),
    "tenure_versioned_version": (c_void_p, POINTER(c_uint64)),
    "tenure_shared_create": (c_void_p, c_char_p, c_uint32, c_uint64, c_size_t, c_size_t, _new),
    "tenure_shared_open": (c_void_p, c_uint64, c_uint64, _new),
    "tenure_shared_open_named": (c_void_p, c_uint64, c_char_p, _new),
    "tenure_shared_data": (c_void_p, POINTER(c_void_p)),
    "tenure_value_size": (c_void_p, POINTER(c_size_t)),
    "tenure_queue_create": (c_void_p, c_char_p, c_uint32, c_uint32, c_uint32, _new),
    "tenure_queue_open": (c_void_p, c_uint32, c_uint64, _new),
    "tenure_queue_open_named": (c_void_p, c_uint32, c_char_p, _new),
    "tenure_queue_push": (c_void_p, c_void_p, c_size_t, c_uint32, c_uint64),
    "tenure_queue_push_handle": (*_local, c_void_p, c_uint64, c_uint32, c_uint64),
    "tenure_queue_push_many": (c_void_p, POINTER(Bytes), c_size_t, c_uint32, c_uint64, POINTER(c_size_t)),
    "tenure_queue_pop_many": (c_void_p, POINTER(Handle), c_size_t, c_uint32, c_uint64, POINTER(c_size_t)),
    "tenure_queue_pop": (c_void_p, c_uint32, c_uint64, POINTER(Handle)),
    "tenure_queue_claim": (c_void_p, c_uint32, c_uint64, POINTER(Handle)),
    "tenure_queue_ack": (c_void_p, c_uint64),
    "tenure_queue_give_back": (c_void_p, c_uint64),
    "tenure_queue_len": (c_void_p, POINTER(c_uint32), POINTER(c_uint32), POINTER(c_uint32)),
    "tenure_map_create": (c_void_p, c_char_p, c_uint32, c_uint32, c_uint64, _new),
    "tenure_map_insert": (*_key, c_void_p, c_size_t, POINTER(c_int)),
    "tenure_map_insert_new": (*_key, c_void_p, c_size_t, POINTER(c_int)),
    "tenure_map_insert_for": (*_key, c_void_p, c_size_t, c_uint64, POINTER(c_int)),
    "tenure_map_insert_new_for": (*_key, c_void_p, c_size_t, c_uint64, POINTER(c_int)),
    "tenure_map_time_left": (*_key, POINTER(c_uint64)),
    "tenure_map_remove_expired": (c_void_p,),
    "tenure_map_exchange": (*_key, c_void_p, c_size_t, c_void_p, c_size_t, POINTER(c_int)),
    "tenure_map_get": (*_key, c_void_p, c_size_t, POINTER(c_size_t)),
    "tenure_map_hold": (*_key, POINTER(c_void_p), POINTER(c_size_t), _new),
    "tenure_map_contains": (*_key, POINTER(c_int)),
    "tenure_map_remove": _key,
    "tenure_map_clear": (c_void_p,),
    "tenure_map_len": (c_void_p, POINTER(c_size_t), POINTER(c_uint64)),
    "tenure_map_iterate": (c_void_p, _new),
    "tenure_map_next": (c_void_p, POINTER(c_void_p), POINTER(c_size_t), POINTER(c_void_p), POINTER(c_size_t)),
    "tenure_wait_set_create": (c_void_p, _new),
    "tenure_wait_set_close": (c_void_p,),
    "tenure_wait_set_fd": (c_void_p, POINTER(c_int)),
    "tenure_wait_set_insert": (c_void_p, c_void_p, c_uint32, c_uint64),
    "tenure_wait_set_insert_push": (c_void_p, c_void_p, c_void_p, c_size_t, c_uint64),
    "tenure_wait_set_insert_condvar": (c_void_p, c_void_p, c_void_p, c_uint64),
    "tenure_wait_set_remove": (c_void_p, c_uint64),
    "tenure_wait_set_take": (c_void_p, POINTER(WaitDone)),
    "tenure_mutex_unlock_task": (c_void_p,),
    "tenure_mutex_abandon_task": (c_void_p,),
    "tenure_rwlock_unlock_write_task": (c_void_p,),
    "tenure_rwlock_abandon_task": (c_void_p,),
    "tenure_wait_any_or_fd": (POINTER(c_void_p), c_size_t, POINTER(c_int), c_size_t, c_uint64, POINTER(c_size_t)),
    "tenure_process_of": (c_void_p, c_char_p, c_uint32, c_uint32, _new),
    "tenure_thread_of": (c_void_p, c_char_p, c_uint32, c_uint32, _new),
    "tenure_process_exit": (c_void_p, POINTER(Exit)),
    "tenure_process_number": (c_void_p, POINTER(c_uint32), POINTER(c_uint64)),
    "tenure_process_reaped": (c_void_p, c_int),
    "tenure_process_exiting": (c_void_p, c_int32),
    "tenure_descriptor_create": (c_void_p, c_char_p, c_uint32, c_int, _new),
    "tenure_descriptor_fd": (c_void_p, POINTER(c_int)),
    "tenure_share_enter": (c_void_p, c_int, c_uint32, c_uint32, _new, POINTER(Conflict)),
    "tenure_share_modes": (c_void_p, POINTER(c_uint32), POINTER(c_uint32)),
    "tenure_share_everybody": (c_void_p, POINTER(Conflict), c_size_t, POINTER(c_size_t)),
}
TEXTS = {"tenure_strerror": (c_int,), "tenure_last_error": (), "tenure_version": ()}


def _checked(function, arguments):
    """The function, refusing numbers (OverflowError) and strings (ValueError) that ctypes or C would cut."""
    names = [f"a{at}" for at in range(len(arguments))]
    lines = []
    for name, kind in zip(names, arguments):
        if kind in _RANGES:
            least, most = _RANGES[kind]
            # Most numbers are plain ones, and the checks add to the cost of a call.
            lines.append(f" if {name}.__class__ is not int or not {least} <= {name} <= {most}:")
            lines.append(f"  {name} = number({kind.__name__}, {name})")
        elif kind is c_char_p:
            lines.append(f" if {name} is not None: text({name})")
    if not lines:
        return function
    parameters = ", ".join(names)
    source = "\n".join([f"def call({parameters}):", *lines, f" return function({parameters})"])
    scope = {"function": function, "number": number, "text": text, **{kind.__name__: kind for kind in _RANGES}}
    exec(source, scope)
    return scope["call"]


class _Functions:
    """The functions of the library, as attributes."""


def _file():
    """The library: that of TENURE_LIBRARY, or the one inside the package, as wheels have it, or the one that the linker finds."""
    named = f"libtenure.so.{ABI_VERSION}"
    inside = os.path.join(os.path.dirname(__file__), named)
    return os.environ.get("TENURE_LIBRARY") or (inside if os.path.exists(inside) else named)


def _load():
    file = _file()
    try:
        library = ctypes.CDLL(file)
    except OSError as error:
        raise ImportError(
            f"{error}; install it with bindings/c/install, and set TENURE_LIBRARY to the file if the linker does not find it"
        ) from None
    functions = _Functions()
    for name, arguments in {**FUNCTIONS, **TEXTS}.items():
        function = getattr(library, name)
        function.argtypes = arguments
        function.restype = c_int if name in FUNCTIONS else c_char_p
        setattr(functions, name, _checked(function, arguments))
    library.tenure_abi_version.argtypes = ()
    library.tenure_abi_version.restype = c_uint32
    found = library.tenure_abi_version()
    if found != ABI_VERSION:
        raise ImportError(f"{file}: expected ABI version {ABI_VERSION}, found {found}")
    return functions, _extension(library)


def _extension(library):
    """The module of C that has the short calls, or None: it is optional. TENURE_NATIVE=0 leaves it aside."""
    if os.environ.get("TENURE_NATIVE") == "0":
        return None
    try:
        from . import _native
    except ImportError:
        return None
    _native.bind(lambda name: ctypes.cast(getattr(library, name), c_void_p).value)
    return _native


library, native = _load()
NativeObject = object if native is None else native.Object


def quick(kind, of=None):
    """For classes: with the short calls of the extension before those of Python, if it is there. Where both have a method, that of the
    extension tries once, and calls the other one if that was not enough. `of` is the extension's name for the kind; `_plain` is the class
    without the extension, to be derived from."""
    kind._plain = kind
    methods = getattr(native, of or kind.__name__, None)
    if methods is None:
        return kind
    return type(kind.__name__, (methods, kind), {"__doc__": kind.__doc__, "__module__": kind.__module__})


def quick_call(name):
    """A function of the extension that tries a call with a local: see there. Without it, one that always answers None: do it by ctypes."""
    return getattr(native, name, lambda *_: None)
