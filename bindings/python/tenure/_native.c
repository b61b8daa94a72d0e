/*
 * The short calls of the package, without ctypes. Optional: the package works as well without this module, only slower.
 *
 * Each method here tries its call once, without waiting. If that succeeds, it is done. If not, the method of the same name in Python is
 * called, which does all of it again: it waits, it raises the exceptions, it runs the handlers of signals. This is right since a call of
 * the library that fails has changed nothing.
 *
 * A try does not wait, so that it keeps the interpreter's lock. No code of Python runs between a call that took something and the result: no
 * exception of a signal handler can come in between.
 *
 * The library is not linked: `bind` gets the addresses of its functions from ctypes, so that both use the same one.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030a0000
#include <Python.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <structmember.h>

/* As in tenure.h; the tests compare them. */
enum { OK = 0, ABANDONED = 1, NOT_FOUND = -9, TIMED_OUT = -30 };

/* More bytes than these are left to Python, which lets other threads run meanwhile. */
enum { SHORT = 1 << 16 };

/* Objects of the library are numbers in the size of a pointer. */
typedef uintptr_t object;
typedef struct {
    uint64_t token;
    void *data;
    size_t size;
} handle;
typedef struct {
    uint64_t offset;
    void *data;
    size_t size;
} block;

/* The functions of the library that are called here. Their types are those of tenure.h. */
#define FUNCTIONS(X) \
    X(tenure_wait, (object, uint64_t)) \
    X(tenure_create, (object, uint32_t, const void *, size_t, handle *)) \
    X(tenure_open, (object, uint32_t, uint64_t, handle *)) \
    X(tenure_close, (object, uint64_t)) \
    X(tenure_alloc_zeroed, (object, size_t, size_t, block *)) \
    X(tenure_free, (object, uint64_t)) \
    X(tenure_mutex_unlock, (object)) \
    X(tenure_event_set, (object)) \
    X(tenure_event_reset, (object, int *)) \
    X(tenure_event_is_set, (object, int *)) \
    X(tenure_semaphore_release, (object, uint32_t, uint32_t *)) \
    X(tenure_permits_acquire, (object, uint32_t, uint64_t, uint64_t *)) \
    X(tenure_permits_give_back, (object, uint64_t)) \
    X(tenure_rwlock_read, (object, uint64_t)) \
    X(tenure_rwlock_unlock_read, (object)) \
    X(tenure_rwlock_write, (object, uint64_t)) \
    X(tenure_rwlock_unlock_write, (object)) \
    X(tenure_queue_push, (object, const void *, size_t, uint32_t, uint64_t)) \
    X(tenure_queue_claim, (object, uint32_t, uint64_t, handle *)) \
    X(tenure_queue_ack, (object, uint64_t)) \
    X(tenure_queue_give_back, (object, uint64_t)) \
    X(tenure_map_get, (object, const void *, size_t, void *, size_t, size_t *)) \
    X(tenure_map_insert, (object, const void *, size_t, const void *, size_t, int *)) \
    X(tenure_map_contains, (object, const void *, size_t, int *))

#define DECLARE(name, arguments) static int(*name) arguments;
FUNCTIONS(DECLARE)
#undef DECLARE

/* What every object has: its number, and what a few kinds need. */
typedef struct {
    PyObject_HEAD
    unsigned long long pointer;
    /* Of mutexes and read-write locks: whether the owner before went without unlocking. */
    char abandoned;
    /* Of permits: one that this object has, or 0. Python has a list of the others. */
    unsigned long long number;
} Object;

static object of(PyObject *self) { return (object)((Object *)self)->pointer; }

/* Calls the method of Python that has the same name: that of the class after `type` in the order of classes of `self`. */
static PyObject *in_python(PyObject *type, PyObject *self, const char *name, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    PyObject *result = NULL, *method = NULL, *tuple = NULL, *dict = NULL;
    PyObject *rest = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type, type, self, NULL);
    if (!rest || !(method = PyObject_GetAttrString(rest, name)) || !(tuple = PyTuple_New(count)))
        goto end;
    for (Py_ssize_t at = 0; at < count; at++) {
        Py_INCREF(args[at]);
        PyTuple_SetItem(tuple, at, args[at]);
    }
    if (names) {
        if (!(dict = PyDict_New()))
            goto end;
        for (Py_ssize_t at = 0; at < PyTuple_Size(names); at++)
            if (PyDict_SetItem(dict, PyTuple_GetItem(names, at), args[count + at]))
                goto end;
    }
    result = PyObject_Call(method, tuple, dict);
end:
    Py_XDECREF(rest);
    Py_XDECREF(method);
    Py_XDECREF(tuple);
    Py_XDECREF(dict);
    return result;
}

/* The types that are made here, as the classes of Python have them among their bases. */
static PyObject *Mutex, *Event, *Semaphore, *Permits, *RwLock, *Queue, *Map;

#define METHOD(type, method) \
    static PyObject *type##_##method(PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
#define IN_PYTHON(type, name) in_python(type, self, name, args, count, names)
#define ENTRY(type, name, method) {name, (PyCFunction)(void (*)(void))type##_##method, METH_FASTCALL | METH_KEYWORDS, NULL}

/* How long `acquire` may wait, by its arguments: 1 for ever, 0 not at all, -1 ask Python. Those are `blocking` and `timeout`. */
static int waits(PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    Py_ssize_t named = names ? PyTuple_Size(names) : 0;
    if (count + named == 0)
        return 1;
    if (count + named != 1)
        return -1;
    if (named) {
        PyObject *name = PyTuple_GetItem(names, 0);
        if (PyUnicode_CompareWithASCIIString(name, "blocking") && PyUnicode_CompareWithASCIIString(name, "block"))
            return -1;
    }
    return args[0] == Py_True ? 1 : args[0] == Py_False ? 0 : -1;
}

static PyObject *yes(int is) { return PyBool_FromLong(is); }

static PyObject *none(void)
{
    Py_INCREF(Py_None);
    return Py_None;
}

/* Takes a mutex, event or semaphore, if it is there to be taken. */
static int taken(PyObject *self)
{
    int status = tenure_wait(of(self), 0);
    if (status >= 0)
        ((Object *)self)->abandoned = status == ABANDONED;
    return status;
}

static PyObject *acquire(PyObject *type, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int waits_for_it = waits(args, count, names);
    if (waits_for_it >= 0) {
        int status = taken(self);
        if (status >= 0)
            Py_RETURN_TRUE;
        if (status == TIMED_OUT && !waits_for_it)
            Py_RETURN_FALSE;
    }
    return IN_PYTHON(type, "acquire");
}

static PyObject *wait(PyObject *type, PyObject *self, PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    /* With any time: what is there is taken at once. */
    if (count <= 1 && !names && taken(self) >= 0)
        Py_RETURN_TRUE;
    return IN_PYTHON(type, "wait");
}

METHOD(Mutex, acquire) { return acquire(Mutex, self, args, count, names); }
METHOD(Mutex, wait) { return wait(Mutex, self, args, count, names); }

METHOD(Mutex, release)
{
    if (!count && !names && tenure_mutex_unlock(of(self)) == OK)
        return none();
    return IN_PYTHON(Mutex, "release");
}

METHOD(Mutex, enter)
{
    if (!count && !names && taken(self) >= 0)
        return yes(((Object *)self)->abandoned);
    return IN_PYTHON(Mutex, "__enter__");
}

METHOD(Mutex, exit)
{
    if (count == 3 && !names && tenure_mutex_unlock(of(self)) == OK)
        return none();
    return IN_PYTHON(Mutex, "__exit__");
}

METHOD(Event, wait) { return wait(Event, self, args, count, names); }

METHOD(Event, set)
{
    if (!count && !names && tenure_event_set(of(self)) == OK)
        return none();
    return IN_PYTHON(Event, "set");
}

METHOD(Event, reset)
{
    int was;
    if (!count && !names && tenure_event_reset(of(self), &was) == OK)
        return yes(was);
    return IN_PYTHON(Event, "reset");
}

METHOD(Event, is_set)
{
    int is;
    if (!count && !names && tenure_event_is_set(of(self), &is) == OK)
        return yes(is);
    return IN_PYTHON(Event, "is_set");
}

METHOD(Semaphore, acquire) { return acquire(Semaphore, self, args, count, names); }
METHOD(Semaphore, wait) { return wait(Semaphore, self, args, count, names); }

METHOD(Semaphore, release)
{
    uint32_t before;
    if (!count && !names && tenure_semaphore_release(of(self), 1, &before) == OK)
        return PyLong_FromUnsignedLong(before);
    return IN_PYTHON(Semaphore, "release");
}

METHOD(Semaphore, enter)
{
    if (!count && !names && taken(self) >= 0) {
        Py_INCREF(self);
        return self;
    }
    return IN_PYTHON(Semaphore, "__enter__");
}

METHOD(Semaphore, exit)
{
    uint32_t before;
    if (count == 3 && !names && tenure_semaphore_release(of(self), 1, &before) == OK)
        return none();
    return IN_PYTHON(Semaphore, "__exit__");
}

/* Acquires a permit and notes it: 1, or 0 if there was none, or -1 to be done in Python. */
static int permit(PyObject *self)
{
    Object *it = (Object *)self;
    uint64_t number;
    if (it->number)
        return -1;
    int status = tenure_permits_acquire(of(self), 0, 0, &number);
    if (status != OK)
        return status == TIMED_OUT ? 0 : -1;
    it->number = number;
    return 1;
}

/* Gives back the permit that `permit` noted: 1, or 0 to be done in Python. */
static int give_back(PyObject *self)
{
    Object *it = (Object *)self;
    if (!it->number || tenure_permits_give_back(of(self), it->number) != OK)
        return 0;
    it->number = 0;
    return 1;
}

METHOD(Permits, acquire)
{
    int waits_for_it = waits(args, count, names);
    if (waits_for_it >= 0) {
        int has = permit(self);
        if (has > 0)
            Py_RETURN_TRUE;
        if (!has && !waits_for_it)
            Py_RETURN_FALSE;
    }
    return IN_PYTHON(Permits, "acquire");
}

METHOD(Permits, release)
{
    if (!count && !names && give_back(self))
        return none();
    return IN_PYTHON(Permits, "release");
}

METHOD(Permits, enter)
{
    if (!count && !names && permit(self) > 0) {
        Py_INCREF(self);
        return self;
    }
    return IN_PYTHON(Permits, "__enter__");
}

METHOD(Permits, exit)
{
    if (count == 3 && !names && give_back(self))
        return none();
    return IN_PYTHON(Permits, "__exit__");
}

/* One side of a read-write lock. */
static PyObject *side(PyObject *self, const char *name, int (*lock)(object, uint64_t), PyObject *const *args, Py_ssize_t count, PyObject *names)
{
    int waits_for_it = waits(args, count, names);
    if (waits_for_it >= 0) {
        int status = lock(of(self), 0);
        if (status >= 0) {
            ((Object *)self)->abandoned = status == ABANDONED;
            Py_RETURN_TRUE;
        }
        if (status == TIMED_OUT && !waits_for_it)
            Py_RETURN_FALSE;
    }
    return IN_PYTHON(RwLock, name);
}

METHOD(RwLock, acquire_read) { return side(self, "acquire_read", tenure_rwlock_read, args, count, names); }
METHOD(RwLock, acquire_write) { return side(self, "acquire_write", tenure_rwlock_write, args, count, names); }

METHOD(RwLock, release_read)
{
    if (!count && !names && tenure_rwlock_unlock_read(of(self)) == OK)
        return none();
    return IN_PYTHON(RwLock, "release_read");
}

METHOD(RwLock, release_write)
{
    if (!count && !names && tenure_rwlock_unlock_write(of(self)) == OK)
        return none();
    return IN_PYTHON(RwLock, "release_write");
}

/* The bytes of an object, if it is one of exactly that class, and short. */
static int bytes_of(PyObject *it, const char **data, size_t *size)
{
    if (!PyBytes_CheckExact(it))
        return 0;
    *data = PyBytes_AsString(it);
    *size = (size_t)PyBytes_Size(it);
    return *size <= SHORT;
}

METHOD(Queue, put)
{
    const char *data;
    size_t size;
    if (count == 1 && !names && bytes_of(args[0], &data, &size) && tenure_queue_push(of(self), data, size, 0, 0) == OK)
        return none();
    return IN_PYTHON(Queue, "put");
}

METHOD(Queue, get)
{
    handle found;
    if (!count && !names && tenure_queue_claim(of(self), 0, 0, &found) == OK) {
        PyObject *data = PyBytes_FromStringAndSize(found.size ? found.data : NULL, (Py_ssize_t)found.size);
        if (data && tenure_queue_ack(of(self), found.token) == OK)
            return data;
        tenure_queue_give_back(of(self), found.token);
        if (!data)
            return NULL;
        Py_DECREF(data);
    }
    return IN_PYTHON(Queue, "get");
}

/* The value of a key: 1, or 0 if it has none, or -1 to be done in Python. */
static int look_up(PyObject *self, PyObject *key, PyObject **value)
{
    char buffer[1024];
    const char *data;
    size_t size, needed;
    if (!bytes_of(key, &data, &size))
        return -1;
    int status = tenure_map_get(of(self), data, size, buffer, sizeof buffer, &needed);
    if (status != OK)
        return status == NOT_FOUND ? 0 : -1;
    *value = PyBytes_FromStringAndSize(buffer, (Py_ssize_t)needed);
    return 1;
}

METHOD(Map, get)
{
    PyObject *value;
    if ((count == 1 || count == 2) && !names) {
        int found = look_up(self, args[0], &value);
        if (found == 0) {
            value = count == 2 ? args[1] : Py_None;
            Py_INCREF(value);
        }
        if (found >= 0)
            return value;
    }
    return IN_PYTHON(Map, "get");
}

static PyObject *Map_subscript(PyObject *self, PyObject *key)
{
    PyObject *value;
    if (look_up(self, key, &value) > 0)
        return value;
    return in_python(Map, self, "__getitem__", &key, 1, NULL);
}

static int Map_assign(PyObject *self, PyObject *key, PyObject *value)
{
    const char *data[2];
    size_t size[2];
    if (value && bytes_of(key, &data[0], &size[0]) && bytes_of(value, &data[1], &size[1]) &&
        tenure_map_insert(of(self), data[0], size[0], data[1], size[1], NULL) == OK)
        return 0;
    PyObject *args[2] = {key, value};
    PyObject *result = in_python(Map, self, value ? "__setitem__" : "__delitem__", args, value ? 2 : 1, NULL);
    Py_XDECREF(result);
    return result ? 0 : -1;
}

static int Map_contains(PyObject *self, PyObject *key)
{
    const char *data;
    size_t size;
    int is;
    if (bytes_of(key, &data, &size) && tenure_map_contains(of(self), data, size, &is) == OK)
        return is;
    PyObject *result = in_python(Map, self, "__contains__", &key, 1, NULL);
    is = result ? PyObject_IsTrue(result) : -1;
    Py_XDECREF(result);
    return is;
}

/*
 * Handles and blocks: functions of the list of idle locals of a member, and the arguments of the call. None is for "do it in Python": that
 * takes a local out of the list, or opens one. Here it stays in: nobody else runs meanwhile, since the interpreter's lock is kept.
 */
static int local_of(PyObject *idle, object *local)
{
    Py_ssize_t last = PyList_Check(idle) ? PyList_Size(idle) - 1 : -1;
    if (last < 0)
        return 0;
    *local = (object)PyLong_AsVoidPtr(PyList_GetItem(idle, last));
    return 1;
}

/* A number of at most so much. */
static int number_of(PyObject *it, uint64_t most, uint64_t *to)
{
    if (!PyLong_CheckExact(it))
        return 0;
    *to = PyLong_AsUnsignedLongLong(it);
    if (PyErr_Occurred()) {
        PyErr_Clear();
        return 0;
    }
    return *to <= most;
}

#define QUICK(name) static PyObject *quick_##name(PyObject *module, PyObject *const *args, Py_ssize_t count)
#define FOUND(first, found) Py_BuildValue("KKn", (unsigned long long)(first), (unsigned long long)(uintptr_t)(found).data, (Py_ssize_t)(found).size)

QUICK(create)
{
    (void)module;
    object local;
    uint64_t kind;
    const char *data;
    size_t size;
    handle found;
    if (count == 3 && local_of(args[0], &local) && number_of(args[1], UINT32_MAX, &kind) && bytes_of(args[2], &data, &size) &&
        tenure_create(local, (uint32_t)kind, data, size, &found) == OK)
        return FOUND(found.token, found);
    return none();
}

QUICK(open)
{
    (void)module;
    object local;
    uint64_t kind, token;
    handle found;
    if (count == 3 && local_of(args[0], &local) && number_of(args[1], UINT32_MAX, &kind) && number_of(args[2], UINT64_MAX, &token) &&
        tenure_open(local, (uint32_t)kind, token, &found) == OK)
        return FOUND(found.token, found);
    return none();
}

QUICK(alloc)
{
    (void)module;
    object local;
    uint64_t size, align;
    block found;
    if (count == 3 && local_of(args[0], &local) && number_of(args[1], SHORT, &size) && number_of(args[2], SHORT, &align) &&
        tenure_alloc_zeroed(local, size, align, &found) == OK)
        return FOUND(found.offset, found);
    return none();
}

static PyObject *given_back(int (*call)(object, uint64_t), PyObject *const *args, Py_ssize_t count)
{
    object local;
    uint64_t what;
    if (count == 2 && local_of(args[0], &local) && number_of(args[1], UINT64_MAX, &what) && call(local, what) == OK)
        Py_RETURN_TRUE;
    return none();
}

QUICK(close)
{
    (void)module;
    return given_back(tenure_close, args, count);
}

QUICK(free)
{
    (void)module;
    return given_back(tenure_free, args, count);
}

static void dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    ((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
    Py_DECREF(type);
}

static PyMemberDef members[] = {
    {"_pointer", T_ULONGLONG, offsetof(Object, pointer), 0, NULL},
    {NULL},
};
static PyMemberDef told[] = {
    {"abandoned", T_BOOL, offsetof(Object, abandoned), 0, NULL},
    {NULL},
};
static PyMemberDef noted[] = {
    {"_number", T_ULONGLONG, offsetof(Object, number), 0, NULL},
    {NULL},
};
static PyMethodDef mutex[] = {
    ENTRY(Mutex, "acquire", acquire),
    ENTRY(Mutex, "release", release),
    ENTRY(Mutex, "wait", wait),
    ENTRY(Mutex, "__enter__", enter),
    ENTRY(Mutex, "__exit__", exit),
    {NULL},
};
static PyMethodDef event[] = {
    ENTRY(Event, "set", set),
    ENTRY(Event, "reset", reset),
    ENTRY(Event, "is_set", is_set),
    ENTRY(Event, "wait", wait),
    {NULL},
};
static PyMethodDef semaphore[] = {
    ENTRY(Semaphore, "acquire", acquire),
    ENTRY(Semaphore, "release", release),
    ENTRY(Semaphore, "wait", wait),
    ENTRY(Semaphore, "__enter__", enter),
    ENTRY(Semaphore, "__exit__", exit),
    {NULL},
};
static PyMethodDef permits[] = {
    ENTRY(Permits, "acquire", acquire),
    ENTRY(Permits, "release", release),
    ENTRY(Permits, "__enter__", enter),
    ENTRY(Permits, "__exit__", exit),
    {NULL},
};
static PyMethodDef rwlock[] = {
    ENTRY(RwLock, "acquire_read", acquire_read),
    ENTRY(RwLock, "release_read", release_read),
    ENTRY(RwLock, "acquire_write", acquire_write),
    ENTRY(RwLock, "release_write", release_write),
    {NULL},
};
static PyMethodDef queue[] = {
    ENTRY(Queue, "put", put),
    ENTRY(Queue, "get", get),
    {NULL},
};
static PyMethodDef map[] = {
    ENTRY(Map, "get", get),
    {NULL},
};

static PyType_Slot object_slots[] = {{Py_tp_dealloc, dealloc}, {Py_tp_members, members}, {0, NULL}};
static PyType_Slot mutex_slots[] = {{Py_tp_methods, mutex}, {Py_tp_members, told}, {0, NULL}};
static PyType_Slot event_slots[] = {{Py_tp_methods, event}, {0, NULL}};
static PyType_Slot semaphore_slots[] = {{Py_tp_methods, semaphore}, {0, NULL}};
static PyType_Slot permits_slots[] = {{Py_tp_methods, permits}, {Py_tp_members, noted}, {0, NULL}};
static PyType_Slot rwlock_slots[] = {{Py_tp_methods, rwlock}, {Py_tp_members, told}, {0, NULL}};
static PyType_Slot queue_slots[] = {{Py_tp_methods, queue}, {0, NULL}};
static PyType_Slot map_slots[] = {
    {Py_tp_methods, map},
    {Py_mp_subscript, Map_subscript},
    {Py_mp_ass_subscript, Map_assign},
    {Py_sq_contains, Map_contains},
    {0, NULL},
};

#define SPEC(name, slots) {"tenure._native." name, sizeof(Object), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots}
static PyType_Spec object_spec = SPEC("Object", object_slots);
static struct {
    PyObject **to;
    const char *name;
    PyType_Spec spec;
} kinds[] = {
    {&Mutex, "Mutex", SPEC("Mutex", mutex_slots)},
    {&Event, "Event", SPEC("Event", event_slots)},
    {&Semaphore, "Semaphore", SPEC("Semaphore", semaphore_slots)},
    {&Permits, "Permits", SPEC("Permits", permits_slots)},
    {&RwLock, "RwLock", SPEC("RwLock", rwlock_slots)},
    {&Queue, "Queue", SPEC("Queue", queue_slots)},
    {&Map, "Map", SPEC("Map", map_slots)},
};

static const struct {
    const char *name;
    void *to;
} functions[] = {
#define NAMED(name, arguments) {#name, &name},
    FUNCTIONS(NAMED)
#undef NAMED
};

/* bind(address_of): asks for the address of each function. */
static PyObject *bind(PyObject *module, PyObject *address_of)
{
    (void)module;
    for (size_t at = 0; at < sizeof functions / sizeof *functions; at++) {
        PyObject *number = PyObject_CallFunction(address_of, "s", functions[at].name);
        if (!number)
            return NULL;
        void *address = PyLong_AsVoidPtr(number);
        Py_DECREF(number);
        if (!address) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_ValueError, functions[at].name);
            return NULL;
        }
        /* A pointer to a function has the size of a pointer to data on every system with dlsym. */
        memcpy(functions[at].to, &address, sizeof address);
    }
    return none();
}

#define QUICK_ENTRY(name) {#name, (PyCFunction)(void (*)(void))quick_##name, METH_FASTCALL, NULL}
static PyMethodDef of_module[] = {
    {"bind", bind, METH_O, NULL},
    QUICK_ENTRY(create),
    QUICK_ENTRY(open),
    QUICK_ENTRY(alloc),
    QUICK_ENTRY(close),
    QUICK_ENTRY(free),
    {NULL},
};

static int fill(PyObject *module)
{
    /* The types and the functions are those of the process: other interpreters in it use ctypes. */
    if (Mutex) {
        PyErr_SetString(PyExc_ImportError, "the extension serves one interpreter of a process");
        return -1;
    }
    PyObject *base = PyType_FromSpec(&object_spec);
    if (!base || PyModule_AddObjectRef(module, "Object", base))
        return -1;
    PyObject *bases = PyTuple_Pack(1, base);
    if (!bases)
        return -1;
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        PyObject *type = PyType_FromSpecWithBases(&kinds[at].spec, bases);
        if (!type || PyModule_AddObjectRef(module, kinds[at].name, type))
            return -1;
        /* For the life of the process. */
        *kinds[at].to = type;
    }
    Py_DECREF(bases);
    Py_DECREF(base);
    return 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, fill}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "tenure._native", NULL, 0, of_module, slots, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
