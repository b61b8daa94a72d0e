"""An exception for each status of tenure.h. The tests compare the two."""

import queue

from ._library import library


class Error(Exception):
    """A call failed and changed nothing. `status` is the number; the text names the expected and the found value."""

    status = 0


def _error(name, status, text, *bases):
    return type(name, (Error, *bases), {"__doc__": text, "status": status, "__module__": "tenure"})


Null = _error("Null", -1, "A pointer that must not be null is.", ValueError)
Argument = _error("Argument", -2, "An argument has a value that it cannot have.", ValueError)
Abi = _error("Abi", -3, "This package is for another ABI version of the library.")
Closed = _error("Closed", -4, "The space, member, handle or object was closed.", ValueError)
WrongThread = _error("WrongThread", -5, "A local that another thread opened.")
ForkedChild = _error("ForkedChild", -6, "A forked child is not the member that its parent is. It may join by itself.")
Left = _error("Left", -7, "The member has left.")
InUse = _error("InUse", -8, "It is being used: by a call in progress, by other threads, or by members that live.")
NotFound = _error("NotFound", -9, "There is no space of that name, nothing has it, or no such process.", LookupError)
BadName = _error("BadName", -10, "A name that no space, or nothing in one, can have.", ValueError)
Geometry = _error("Geometry", -11, "Impossible numbers, or others than those of the existing space.", ValueError)
Incompatible = _error("Incompatible", -12, "Made by another version, boot, kernel, backend or user.")
Unsupported = _error("Unsupported", -13, "Not possible with this file system, kind of space, kernel or process.")
Corrupt = _error("Corrupt", -14, "It contains what no program of ours writes.")
NoMemory = _error("NoMemory", -15, "The system has no memory.", MemoryError)
Full = _error("Full", -16, "As many members as the space can have are alive.")
Exhausted = _error("Exhausted", -17, "No handle, or no scratch memory, is free.", MemoryError)
Stale = _error("Stale", -18, "Everybody let go of the handle; or, where it must be, it is not held by this process.")
Forged = _error("Forged", -19, "A token that was never issued.", ValueError)
ForeignSpace = _error("ForeignSpace", -20, "A token of another space.", ValueError)
ForeignKind = _error("ForeignKind", -21, "A handle or object of another kind.", ValueError)
TooMany = _error("TooMany", -22, "This process holds the handle as often as can be counted.")
NotABlock = _error("NotABlock", -23, "No block starts at that offset.", ValueError)
AlreadyFree = _error("AlreadyFree", -24, "The block is free already.", ValueError)
WrongOwner = _error("WrongOwner", -25, "The block is somebody else's.")
TooLarge = _error("TooLarge", -26, "More bytes than any block, or this payload, can have.", ValueError)
Buffer = _error("Buffer", -27, "The buffer is too short.", ValueError)
System = _error("System", -28, "The system refused.")
Panic = _error("Panic", -29, "A defect of the library.")
Timeout = _error("Timeout", -30, "It did not come in time; nothing was taken.", TimeoutError)
Deadlock = _error("Deadlock", -31, "This thread owns the mutex already, and it is not recursive.")
NotOwner = _error("NotOwner", -32, "This thread does not own the mutex, or is not what the object names.")
Maximum = _error("Maximum", -33, "More than the maximum; nothing was changed.", ValueError)
NameTaken = _error("NameTaken", -34, "Something has the name.")
Announced = _error("Announced", -35, "Its code was announced already, or it has ended.")
Refused = _error("Refused", -36, "Nobody who has the descriptor can give it to this process.")
Sharing = _error("Sharing", -37, "Somebody uses the file in a way that excludes this one.")
Interrupted = _error("Interrupted", -38, "A signal handler ran during the wait; nothing was taken.", InterruptedError)
ReadOnly = _error("ReadOnly", -39, "The member only reads.", PermissionError)
NoSlot = _error("NoSlot", -40, "The space has no slot of that number.", IndexError)
SlotEmpty = _error("SlotEmpty", -41, "The slot holds nothing.", LookupError)
SlotFull = _error("SlotFull", -42, "The slot, or every slot, holds a handle.")
Kept = _error("Kept", -43, "A slot holds this handle already.")
InTransit = _error("InTransit", -44, "Another holder of the handle is putting it into a slot.")
PutTooOften = _error("PutTooOften", -45, "The handle was put as often as it can be.")
Claimed = _error("Claimed", -46, "A member has claimed what is in the slot.")
NotClaimed = _error("NotClaimed", -47, "This member has not claimed that handle in that slot.")
QueueEmpty = _error("QueueEmpty", -48, "The queue has no element that waits.", queue.Empty)
QueueFull = _error("QueueFull", -49, "The queue has no room for one more element.", queue.Full)
ContainerSlots = _error("ContainerSlots", -50, "So many container slots in a row are not free.")
MapFull = _error("MapFull", -51, "The bucket of the key has as many pairs as it can have.")

BY_STATUS = {kind.status: kind for kind in Error.__subclasses__()}
# For users.
__all__ = ["Error", *(kind.__name__ for kind in BY_STATUS.values())]


def check(status):
    """Raises the exception of a status, or returns a status that is no error."""
    if status < 0:
        text = library.tenure_last_error().decode(errors="replace")
        raise BY_STATUS.get(status, Error)(text or library.tenure_strerror(status).decode())
    return status


def leave(kind, call, *expected):
    """The end of a `with` whose body raised `kind`, or None: `call` gives back. Errors that are `expected` do not matter. For others the
    exception of the body goes before ours: False, and what the call did not give back is given back when the object is dropped."""
    try:
        call()
    except expected:
        pass
    except (Error, BufferError):
        if kind is None:
            raise
        return False
    return True
