// tenure from C#, continued: things to wait for and things with names. Compile together with Tenure.cs.
//
// They belong to the member, and every thread may use them; a locked mutex belongs to its thread. An object that is still
// open keeps the member from leaving.

using System;
using System.Collections.Generic;
using System.Runtime.InteropServices;
using System.Text;

namespace Tenure
{
    internal static partial class Native
    {
        [DllImport(Library)] public static extern int tenure_object_open(
            MemberPointer member, uint kind, ulong token, out IntPtr found);
        [DllImport(Library)] public static extern int tenure_object_open_named(
            MemberPointer member, uint kind, byte[] name, out IntPtr found);
        [DllImport(Library)] public static extern int tenure_object_token(ObjectPointer it, out ulong token);
        [DllImport(Library)] public static extern int tenure_object_kind_of(ObjectPointer it, out uint kind);
        [DllImport(Library)] public static extern int tenure_object_close(IntPtr it);
        [DllImport(Library)] public static extern int tenure_mutex_create(
            MemberPointer member, byte[] name, uint flags, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_mutex_lock(ObjectPointer it, ulong timeout);
        [DllImport(Library)] public static extern int tenure_mutex_unlock(ObjectPointer it);
        [DllImport(Library)] public static extern int tenure_event_create(
            MemberPointer member, byte[] name, uint flags, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_event_set(ObjectPointer it);
        [DllImport(Library)] public static extern int tenure_event_reset(ObjectPointer it, out int was);
        [DllImport(Library)] public static extern int tenure_event_is_set(ObjectPointer it, out int found);
        [DllImport(Library)] public static extern int tenure_semaphore_create(
            MemberPointer member, byte[] name, uint flags, uint count, uint maximum, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_semaphore_release(ObjectPointer it, uint more, out uint before);
        [DllImport(Library)] public static extern int tenure_semaphore_count(
            ObjectPointer it, out uint count, out uint maximum);
        [DllImport(Library)] public static extern int tenure_wait(ObjectPointer it, ulong timeout);
        [DllImport(Library)] public static extern int tenure_wait_any(
            IntPtr[] all, UIntPtr count, ulong timeout, out UIntPtr index);
        [DllImport(Library)] public static extern int tenure_wait_all(
            IntPtr[] all, UIntPtr count, ulong timeout, out ulong abandoned);
        [DllImport(Library)] public static extern int tenure_process_of(
            MemberPointer member, byte[] name, uint flags, uint pid, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_thread_of(
            MemberPointer member, byte[] name, uint flags, uint tid, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_process_exit(ObjectPointer it, out Exit exit);
        [DllImport(Library)] public static extern int tenure_process_number(
            ObjectPointer it, out uint number, out ulong started);
        [DllImport(Library)] public static extern int tenure_process_reaped(ObjectPointer it, int status);
        [DllImport(Library)] public static extern int tenure_process_exiting(ObjectPointer it, int code);
        [DllImport(Library)] public static extern int tenure_descriptor_create(
            MemberPointer member, byte[] name, uint flags, int fd, out IntPtr made);
        [DllImport(Library)] public static extern int tenure_descriptor_fd(ObjectPointer it, out int fd);
        [DllImport(Library)] public static extern int tenure_share_enter(
            MemberPointer member, int fd, uint access, uint sharing, out IntPtr made, out FileUser who);
        [DllImport(Library)] public static extern int tenure_share_everybody(
            ObjectPointer it, [Out] FileUser[] all, UIntPtr capacity, out UIntPtr count);
        [DllImport(Library)] public static extern int tenure_create_named(
            IntPtr local, byte[] name, uint flags, uint kind, byte[] data, UIntPtr size, out Found handle);
        [DllImport(Library)] public static extern int tenure_open_named(
            IntPtr local, byte[] name, uint kind, out Found handle);
        [DllImport(Library)] public static extern int tenure_look_up(
            MemberPointer member, byte[] name, out ulong token, out ulong kind);
        [DllImport(Library)] public static extern int tenure_space_names(
            SpacePointer space, [Out] FoundName[] names, UIntPtr capacity, out UIntPtr count);

        /// <summary>In flags: if the name is in use, its object is opened.</summary>
        public const uint OrOpen = 256;

        /// <summary>The positive results, which are no errors: TENURE_ABANDONED, TENURE_OPENED.</summary>
        public const int Abandoned = 1, Opened = 2;

        public delegate int Fill<T>(T[] all, UIntPtr room, out UIntPtr count);

        /// <summary>A list whose length the library knows.</summary>
        public static T[] List<T>(Fill<T> fill)
        {
            T[] all = new T[8];
            for (;;)
            {
                UIntPtr count;
                int status = fill(all, (UIntPtr)(uint)all.Length, out count);
                if (status != (int)Status.Buffer)
                {
                    Check(status);
                    Array.Resize(ref all, (int)count.ToUInt32());
                    return all;
                }
                // Room for some more, which may come while we look.
                all = new T[count.ToUInt32() + 8];
            }
        }

        /// <summary>Nanoseconds; null waits for ever.</summary>
        public static ulong Timeout(TimeSpan? timeout)
        {
            if (timeout == null)
                return ulong.MaxValue;
            const ulong most = ulong.MaxValue - 1;
            ulong ticks = timeout.Value.Ticks <= 0 ? 0 : (ulong)timeout.Value.Ticks;
            return ticks > most / 100 ? most : ticks * 100;
        }
    }

    /// <summary>An open object of a member; others find it by token or name.</summary>
    public abstract class SharedObject : IDisposable
    {
        internal readonly ObjectPointer Pointer;

        /// <summary>Whether an object had the name, and was opened instead of created.</summary>
        public bool Opened { get; internal set; }

        internal SharedObject(ObjectPointer pointer)
        {
            Pointer = pointer;
        }

        /// <summary>The number to pass to others, for Member.OpenObject. It keeps nothing alive.</summary>
        public ulong Token
        {
            get
            {
                ulong token;
                Native.Check(Native.tenure_object_token(Pointer, out token));
                return token;
            }
        }

        /// <summary>Waits for it and takes it; null waits as long as it takes. False after a timeout. A signal does not end
        /// a wait: .NET and Mono run handlers, also Console.CancelKeyPress, on other threads. Nor does Thread.Interrupt: to
        /// end a wait from another thread, wait for an event beside the object, by WaitAny.</summary>
        public bool Wait(TimeSpan? timeout = null)
        {
            bool abandoned;
            return Wait(timeout, out abandoned);
        }

        /// <summary>As Wait; tells if it is a mutex whose last owner did not unlock it.</summary>
        public bool Wait(TimeSpan? timeout, out bool abandoned)
        {
            int status = Native.tenure_wait(Pointer, Native.Timeout(timeout));
            return Taken(status, out abandoned);
        }

        internal static bool Taken(int status, out bool abandoned)
        {
            abandoned = status == Native.Abandoned;
            if (status == (int)Status.Timeout)
                return false;
            Native.Check(status);
            return true;
        }

        /// <summary>Waits until one of up to 64 is available and takes it; returns its index, or -1 after a
        /// timeout.</summary>
        public static int WaitAny(IList<SharedObject> all, TimeSpan? timeout, out bool abandoned)
        {
            UIntPtr index;
            IntPtr[] pointers = Pointers(all);
            int status = Native.tenure_wait_any(
                pointers, (UIntPtr)(uint)pointers.Length, Native.Timeout(timeout), out index);
            GC.KeepAlive(all);
            return Taken(status, out abandoned) ? (int)index.ToUInt32() : -1;
        }

        /// <summary>Waits until all are available and takes them; `abandoned` has a bit for each abandoned
        /// mutex.</summary>
        public static bool WaitAll(IList<SharedObject> all, TimeSpan? timeout, out ulong abandoned)
        {
            bool any;
            IntPtr[] pointers = Pointers(all);
            int status = Native.tenure_wait_all(
                pointers, (UIntPtr)(uint)pointers.Length, Native.Timeout(timeout), out abandoned);
            GC.KeepAlive(all);
            return Taken(status, out any);
        }

        static IntPtr[] Pointers(IList<SharedObject> all)
        {
            IntPtr[] pointers = new IntPtr[all.Count];
            for (int i = 0; i < pointers.Length; i++)
                pointers[i] = all[i].Pointer.DangerousGetHandle();
            return pointers;
        }

        /// <summary>Gives it back; a second time does nothing.</summary>
        public void Dispose()
        {
            Pointer.CloseNow();
        }
    }

    /// <summary>Mutual exclusion between threads of any processes, which survives the death of its owner.</summary>
    public sealed class SharedMutex : SharedObject
    {
        internal SharedMutex(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>Locks it. True if its last owner died, or left without unlocking; one process is told.</summary>
        public bool Lock()
        {
            bool abandoned;
            TryLock(null, out abandoned);
            return abandoned;
        }

        /// <summary>Locks it; false after a timeout.</summary>
        public bool TryLock(TimeSpan? timeout, out bool abandoned)
        {
            return Taken(Native.tenure_mutex_lock(Pointer, Native.Timeout(timeout)), out abandoned);
        }

        /// <summary>Unlocks it once; by the thread that locked it.</summary>
        public void Unlock()
        {
            Native.Check(Native.tenure_mutex_unlock(Pointer));
        }
    }

    /// <summary>One thread signals an event, others wait for it.</summary>
    public sealed class SharedEvent : SharedObject
    {
        internal SharedEvent(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>Signals it.</summary>
        public void Set()
        {
            Native.Check(Native.tenure_event_set(Pointer));
        }

        /// <summary>Takes the signal away; returns whether the event was signalled.</summary>
        public bool Reset()
        {
            int was;
            Native.Check(Native.tenure_event_reset(Pointer, out was));
            return was != 0;
        }

        /// <summary>Whether it is signalled at the moment.</summary>
        public bool IsSet
        {
            get
            {
                int found;
                Native.Check(Native.tenure_event_is_set(Pointer, out found));
                return found != 0;
            }
        }
    }

    /// <summary>A count that waiters take from.</summary>
    public sealed class SharedSemaphore : SharedObject
    {
        internal SharedSemaphore(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>Adds to the count; returns the count before. More than the maximum is Status.Maximum.</summary>
        public uint Release(uint more = 1)
        {
            uint before;
            Native.Check(Native.tenure_semaphore_release(Pointer, more, out before));
            return before;
        }

        /// <summary>The count at the moment.</summary>
        public uint Count
        {
            get
            {
                uint count, maximum;
                Native.Check(Native.tenure_semaphore_count(Pointer, out count, out maximum));
                return count;
            }
        }
    }

    /// <summary>How a process or thread ended; enum tenure_how.</summary>
    public enum How : uint
    {
        Runs = 0,
        Exited = 1,
        Killed = 2,
        Ended = 3,
    }

    /// <summary>How a process or thread ended; tenure_exit.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Exit
    {
        public How How;
        public int Code;
        public uint CoreDumped;
    }

    /// <summary>A process, or a thread, and no later one with its number.</summary>
    public abstract class Mortal : SharedObject
    {
        internal Mortal(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>Its number, in the pid namespace of the process that created the object.</summary>
        public uint Number
        {
            get
            {
                uint number;
                ulong started;
                Native.Check(Native.tenure_process_number(Pointer, out number, out started));
                return number;
            }
        }

        /// <summary>How it ended.</summary>
        public Exit Exit
        {
            get
            {
                Exit exit;
                Native.Check(Native.tenure_process_exit(Pointer, out exit));
                return exit;
            }
        }

        /// <summary>Called by the process, or thread, itself: announces the code with which it is about to end. Works
        /// once: Status.Announced.</summary>
        public void Exiting(int code)
        {
            Native.Check(Native.tenure_process_exiting(Pointer, code));
        }
    }

    /// <summary>A process, and no later one with its number.</summary>
    public sealed class SharedProcess : Mortal
    {
        internal SharedProcess(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>Tells all holders how the process ended; call it after waitpid reaped it. A status that is known
        /// stays.</summary>
        public void Reaped(int status)
        {
            Native.Check(Native.tenure_process_reaped(Pointer, status));
        }
    }

    /// <summary>A thread of the system, and no later one with its number; .NET's may run on any of them.</summary>
    public sealed class SharedThread : Mortal
    {
        internal SharedThread(ObjectPointer pointer) : base(pointer)
        {
        }
    }

    /// <summary>A file descriptor that travels by token: a process that opens it gets a duplicate.</summary>
    public sealed class SharedDescriptor : SharedObject
    {
        internal SharedDescriptor(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>This member's descriptor; it is closed with the object. For SafeFileHandle with ownsHandle
        /// false.</summary>
        public int Fd
        {
            get
            {
                int fd;
                Native.Check(Native.tenure_descriptor_fd(Pointer, out fd));
                return fd;
            }
        }
    }

    /// <summary>An entry in the table of a file: how we use it, and let others use it. It has no token.</summary>
    public sealed class FileShareEntry : SharedObject
    {
        internal FileShareEntry(ObjectPointer pointer) : base(pointer)
        {
        }

        /// <summary>The members that have entries for the file, this one as well, each with the sum of its
        /// modes.</summary>
        public FileUser[] Everybody()
        {
            return Native.List<FileUser>((FileUser[] all, UIntPtr room, out UIntPtr count) =>
                Native.tenure_share_everybody(Pointer, all, room, out count));
        }
    }

    /// <summary>A member that uses a file, with its modes of use; tenure_conflict.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct FileUser
    {
        public ulong Lease;
        public uint Pid;
        public Modes Access;
        public Modes Sharing;
        internal uint Reserved;
    }

    /// <summary>Another member, Who, uses the file in a way that excludes this one.</summary>
    public sealed class SharingException : TenureException
    {
        /// <summary>The member that excludes this one.</summary>
        public FileUser Who { get; private set; }

        internal SharingException(FileUser who, string message) : base(Status.Sharing, message)
        {
            Who = who;
        }
    }

    /// <summary>A name in use.</summary>
    public struct NameInUse
    {
        /// <summary>The name.</summary>
        public string Name;
        /// <summary>The token of the object or handle with that name.</summary>
        public ulong Token;
        /// <summary>The application's number for it; of an object ObjectKind plus enum tenure_object_kind.</summary>
        public ulong Kind;
        /// <summary>The number of members that hold it.</summary>
        public uint Holders;

        /// <summary>TENURE_SYSTEM_KIND.</summary>
        public const ulong ObjectKind = 1UL << 62;
    }

    /// <summary>tenure_name.</summary>
    [StructLayout(LayoutKind.Sequential)]
    internal struct FoundName
    {
        public ulong Token;
        public ulong Kind;
        public uint Holders;
        [MarshalAs(UnmanagedType.ByValArray, SizeConst = 256)]
        public byte[] Name;
    }

    public sealed partial class Space
    {
        /// <summary>The names in use, in the order of their bytes.</summary>
        public NameInUse[] Names
        {
            get
            {
                FoundName[] found = Native.List<FoundName>((FoundName[] all, UIntPtr room, out UIntPtr count) =>
                    Native.tenure_space_names(pointer, all, room, out count));
                return Array.ConvertAll(found, it => new NameInUse
                {
                    Name = Encoding.UTF8.GetString(it.Name, 0, Array.IndexOf(it.Name, (byte)0)),
                    Token = it.Token,
                    Kind = it.Kind,
                    Holders = it.Holders,
                });
            }
        }
    }

    /// <summary>The modes of using a file, and of letting others use it.</summary>
    [Flags]
    public enum Modes : uint
    {
        None = 0,
        Read = 1,
        Write = 2,
        Delete = 4,
    }

    public sealed partial class Member
    {
        delegate int Make(byte[] name, out IntPtr made);

        T Made<T>(string name, Make make, Func<ObjectPointer, T> wrap) where T : SharedObject
        {
            IntPtr found;
            int status = make(Native.Name(name), out found);
            Native.Check(status);
            T made = wrap(new ObjectPointer(pointer, found));
            made.Opened = status == Native.Opened;
            return made;
        }

        static uint Flags(bool orOpen, bool one, bool two = false)
        {
            return (one ? 1u : 0) | (two ? 2u : 0) | (orOpen ? Native.OrOpen : 0);
        }

        /// <summary>Creates a mutex; with orOpen opens the mutex of that name, if there is one.</summary>
        public SharedMutex CreateMutex(string name = null, bool recursive = false, bool orOpen = false)
        {
            uint flags = Flags(orOpen, recursive);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_mutex_create(pointer, bytes, flags, out made), it => new SharedMutex(it));
        }

        /// <summary>Creates an event: each signal lets one waiter go, or, if manual, all until it is reset.</summary>
        public SharedEvent CreateEvent(
            string name = null, bool manual = false, bool signalled = false, bool orOpen = false)
        {
            uint flags = Flags(orOpen, manual, signalled);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_event_create(pointer, bytes, flags, out made), it => new SharedEvent(it));
        }

        /// <summary>Creates a semaphore.</summary>
        public SharedSemaphore CreateSemaphore(uint count, uint maximum, string name = null, bool orOpen = false)
        {
            uint flags = Flags(orOpen, false);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_semaphore_create(pointer, bytes, flags, count, maximum, out made),
                it => new SharedSemaphore(it));
        }

        /// <summary>An object of the process that has that number now; 0 is this one. With orOpen a process of that
        /// name is opened instead, even if it has another number.</summary>
        public SharedProcess CreateProcess(uint number = 0, string name = null, bool orOpen = false)
        {
            uint flags = Flags(orOpen, false);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_process_of(pointer, bytes, flags, number, out made), it => new SharedProcess(it));
        }

        /// <summary>An object of the thread that has that number (gettid) now; 0 is the calling one.</summary>
        public SharedThread CreateThread(uint number = 0, string name = null, bool orOpen = false)
        {
            uint flags = Flags(orOpen, false);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_thread_of(pointer, bytes, flags, number, out made), it => new SharedThread(it));
        }

        /// <summary>An object of a file descriptor, which stays the caller's. With orOpen a descriptor that has the
        /// name is opened instead, even if it leads to another file.</summary>
        public SharedDescriptor CreateDescriptor(int fd, string name = null, bool orOpen = false)
        {
            uint flags = Flags(orOpen, false);
            return Made(name, (byte[] bytes, out IntPtr made) =>
                Native.tenure_descriptor_create(pointer, bytes, flags, fd, out made), it => new SharedDescriptor(it));
        }

        /// <summary>Enters how we use a file and let others use it, unless an entry excludes that:
        /// SharingException.</summary>
        public FileShareEntry Share(int fd, Modes access, Modes sharing)
        {
            FileUser who = default(FileUser);
            try
            {
                return Made(null, (byte[] bytes, out IntPtr made) =>
                    Native.tenure_share_enter(pointer, fd, (uint)access, (uint)sharing, out made, out who),
                    it => new FileShareEntry(it));
            }
            catch (TenureException error) when (error.Status == Status.Sharing)
            {
                throw new SharingException(who, error.Message);
            }
        }

        /// <summary>Opens the object of a token: a SharedMutex, a SharedEvent, or another kind.</summary>
        public SharedObject OpenObject(ulong token)
        {
            IntPtr found;
            Native.Check(Native.tenure_object_open(pointer, 0, token, out found));
            return Wrap(found);
        }

        /// <summary>Opens the object that has a name.</summary>
        public SharedObject OpenObject(string name)
        {
            IntPtr found;
            Native.Check(Native.tenure_object_open_named(pointer, 0, Native.Name(name), out found));
            return Wrap(found);
        }

        SharedObject Wrap(IntPtr opened)
        {
            uint kind;
            var found = new ObjectPointer(pointer, opened);
            Native.Check(Native.tenure_object_kind_of(found, out kind));
            switch (kind)
            {
                case 1:
                    return new SharedMutex(found);
                case 2:
                case 3:
                    return new SharedEvent(found);
                case 4:
                    return new SharedSemaphore(found);
                case 6:
                    return new SharedThread(found);
                case 7:
                    return new SharedDescriptor(found);
                default:
                    return new SharedProcess(found);
            }
        }

        /// <summary>Creates a handle with a name; with orOpen opens the handle of this kind with that name.</summary>
        public Handle Create(uint kind, byte[] data, string name, bool orOpen = false)
        {
            Found found = default(Found);
            byte[] bytes = Native.Name(name);
            uint flags = Flags(orOpen, false);
            Call(local => Native.tenure_create_named(
                local, bytes, flags, kind, data, (UIntPtr)(uint)data.Length, out found));
            return new Handle(this, found);
        }

        /// <summary>Opens the handle that has a name.</summary>
        public Handle Open(uint kind, string name)
        {
            Found found = default(Found);
            byte[] bytes = Native.Name(name);
            Call(local => Native.tenure_open_named(local, bytes, kind, out found));
            return new Handle(this, found);
        }

        /// <summary>The token of the object or handle with that name.</summary>
        public ulong LookUp(string name)
        {
            ulong token, kind;
            Native.Check(Native.tenure_look_up(pointer, Native.Name(name), out token, out kind));
            return token;
        }
    }
}
