// tenure from C#: tenure.h by P/Invoke. For Mono and .NET on 64-bit Linux; compile with -unsafe, and with Objects.cs.
//
// Threads share a member: calls that run at the same time have a cache of their own each.
//
// Spaces, members and shared objects that are not disposed of are closed once nobody refers to them. Handles and blocks are not, because a
// Span or a ref into them does not keep them: one that is not disposed of is the member's, and keeps the member, until the member is disposed
// of or the process ends.

using System;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;

namespace Tenure
{
    /// <summary>How the memory of a space comes to be; enum tenure_backend.</summary>
    public enum Backend : uint
    {
        Shm = 1,
        File = 2,
        Memfd = 3,
        Anonymous = 4,
        SysV = 5,
        Private = 6,
    }

    /// <summary>Where the name of a space leads; enum tenure_name_state.</summary>
    public enum NameState : uint
    {
        Unknown = 0,
        Current = 1,
        Contested = 2,
        Removed = 3,
        Replaced = 4,
    }

    /// <summary>Why a call failed; enum tenure_status.</summary>
    public enum Status
    {
        Ok = 0,
        Null = -1,
        Argument = -2,
        Abi = -3,
        Closed = -4,
        WrongThread = -5,
        Forked = -6,
        Left = -7,
        InUse = -8,
        NotFound = -9,
        Name = -10,
        Geometry = -11,
        Incompatible = -12,
        Unsupported = -13,
        Corrupt = -14,
        NoMemory = -15,
        Full = -16,
        Exhausted = -17,
        Stale = -18,
        Forged = -19,
        ForeignSpace = -20,
        ForeignKind = -21,
        TooMany = -22,
        NotABlock = -23,
        AlreadyFree = -24,
        WrongOwner = -25,
        TooLarge = -26,
        Buffer = -27,
        Os = -28,
        Panic = -29,
        Timeout = -30,
        Deadlock = -31,
        NotOwner = -32,
        Maximum = -33,
        NameTaken = -34,
        Announced = -35,
        Refused = -36,
        Sharing = -37,
        Interrupted = -38,
        ReadOnly = -39,
        NoSlot = -40,
        SlotEmpty = -41,
        SlotFull = -42,
        Kept = -43,
        InTransit = -44,
        PutTooOften = -45,
        Claimed = -46,
        NotClaimed = -47,
        QueueEmpty = -48,
        QueueFull = -49,
        ContainerSlots = -50,
        MapFull = -51,
    }

    /// <summary>A call failed and changed nothing; the message names the expected and the found value.</summary>
    public class TenureException : Exception
    {
        public Status Status { get; private set; }

        internal TenureException(Status status, string message) : base(message)
        {
            Status = status;
        }
    }

    /// <summary>How a space is created or found; 0 means the default when creating and is ignored when
    /// attaching.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Options
    {
        internal uint Abi;
        public Backend Backend;
        public uint Flags;
        public uint Members;
        public uint Handles;
        public uint GenerationBits;
        public ulong ScratchBytes;
        public uint UnitBytes;

        /// <summary>Who may use it, as the mode of a file; 0 is 0600.</summary>
        public uint Mode;

        /// <summary>With WithOwner: the user id of its owner.</summary>
        public uint Owner;

        /// <summary>With WithGroup: its group id.</summary>
        public uint Group;

        /// <summary>Slots, which hold handles; none by default.</summary>
        public uint Slots;

        /// <summary>Slots for what queues and maps hold; none by default.</summary>
        public uint ContainerSlots;

        /// <summary>In Flags: no monitor thread.</summary>
        public const uint NoMonitor = 1;

        /// <summary>In Flags: small defaults.</summary>
        public const uint Tiny = 2;

        /// <summary>In Flags: Owner counts.</summary>
        public const uint WithOwner = 4;

        /// <summary>In Flags: Group counts.</summary>
        public const uint WithGroup = 8;

        /// <summary>In Flags: members only read.</summary>
        public const uint ReadOnly = 16;
    }

    /// <summary>The counts of objects and bytes in use; tenure_stats.</summary>
    [StructLayout(LayoutKind.Sequential)]
    public struct Stats
    {
        public ulong MembersLive;
        public ulong HandlesLive;
        public ulong HandlesClaimed;
        public ulong HandlesRetired;
        public ulong HandlesCapacity;
        public ulong BlocksLeased;
        public ulong BlocksAttached;
        public ulong BlocksPinned;
        public ulong BytesLive;
        public ulong BytesOwned;
        public ulong BytesCommitted;
        public ulong BytesCapacity;
    }

    [StructLayout(LayoutKind.Sequential)]
    internal struct Found
    {
        public ulong Number;
        public IntPtr Data;
        public UIntPtr Size;
    }

    /// <summary>A pointer of C, closed once nobody refers to it. The library checks each, so closing twice is an error and no more.</summary>
    internal abstract class Pointer : SafeHandle
    {
        protected Pointer(IntPtr it) : base(IntPtr.Zero, true)
        {
            SetHandle(it);
        }

        public override bool IsInvalid
        {
            get { return handle == IntPtr.Zero; }
        }

        protected abstract int End();

        protected override bool ReleaseHandle()
        {
            return End() == (int)Status.Ok;
        }

        /// <summary>Closes it now; afterwards each use throws ObjectDisposedException. If it is in use, it stays open.</summary>
        public bool CloseNow()
        {
            if (IsClosed)
                return false;
            int status = End();
            if (status == (int)Status.Closed)
                return false; // by another thread, at this moment
            Native.Check(status);
            SetHandleAsInvalid();
            return true;
        }
    }

    internal sealed class SpacePointer : Pointer
    {
        public SpacePointer(IntPtr it) : base(it)
        {
        }

        protected override int End()
        {
            return Native.tenure_space_close(handle);
        }
    }

    /// <summary>What is open of a member counts as a reference to it, so that the member is closed last.</summary>
    internal sealed class MemberPointer : Pointer
    {
        // Locals that no call uses at the moment; they belong to no thread.
        readonly ConcurrentStack<IntPtr> idle = new ConcurrentStack<IntPtr>();

        public MemberPointer(IntPtr it) : base(it)
        {
        }

        public IntPtr Rent()
        {
            IntPtr local;
            if (!idle.TryPop(out local))
                Native.Check(Native.tenure_local_open_unbound(this, out local));
            return local;
        }

        public void GiveBack(IntPtr local)
        {
            idle.Push(local);
        }

        public void Hold()
        {
            bool held = false;
            DangerousAddRef(ref held);
        }

        protected override int End()
        {
            IntPtr local;
            while (idle.TryPop(out local))
                Native.tenure_local_close(local);
            return Native.tenure_leave(handle);
        }
    }

    internal sealed class ObjectPointer : Pointer
    {
        readonly MemberPointer member;

        public ObjectPointer(MemberPointer member, IntPtr it) : base(it)
        {
            member.Hold();
            this.member = member;
        }

        protected override int End()
        {
            int status = Native.tenure_object_close(handle);
            if (status == (int)Status.Ok)
                member.DangerousRelease();
            return status;
        }
    }

    internal static partial class Native
    {
        public const uint AbiVersion = 4;
        const string Library = "tenure";

#if NETCOREAPP
        static Native()
        {
            try
            {
                NativeLibrary.SetDllImportResolver(typeof(Native).Assembly, Resolve);
            }
            catch (InvalidOperationException)
            {
                // The program that these sources are part of has a resolver, which finds the library.
            }
        }

        // The file that TENURE_LIBRARY names; libtenure.so, in a package or beside the program, or where the system looks for libraries; the name
        // that it has there without the development files.
        static IntPtr Resolve(string name, System.Reflection.Assembly assembly, DllImportSearchPath? path)
        {
            IntPtr found;
            if (name != Library)
                return IntPtr.Zero;
            string given = Environment.GetEnvironmentVariable("TENURE_LIBRARY");
            if (!string.IsNullOrEmpty(given))
                return NativeLibrary.Load(given);
            if (NativeLibrary.TryLoad(name, assembly, path, out found))
                return found;
            // If it is nowhere, .NET says where it looked.
            return NativeLibrary.TryLoad("libtenure.so." + AbiVersion, assembly, path, out found) ? found : IntPtr.Zero;
        }

        [DllImport(Library)] public static extern unsafe int tenure_create(
            IntPtr local, uint kind, byte* data, UIntPtr size, out Found handle);
#endif

        [DllImport(Library)] static extern IntPtr tenure_strerror(int status);
        [DllImport(Library)] static extern IntPtr tenure_last_error();
        [DllImport(Library)] public static extern int tenure_space_open(
            ref Options options, byte[] name, out IntPtr space);
        [DllImport(Library)] public static extern int tenure_space_attach(
            ref Options options, byte[] name, out IntPtr space);
        [DllImport(Library)] public static extern int tenure_space_attach_fd(
            ref Options options, int fd, out IntPtr space);
        [DllImport(Library)] public static extern int tenure_space_close(IntPtr space);
        [DllImport(Library)] public static extern int tenure_space_fd(SpacePointer space, out int fd);
        [DllImport(Library)] public static extern int tenure_space_name_state(SpacePointer space, out NameState state);
        [DllImport(Library)] public static extern int tenure_monitor(MemberPointer member, out int monitor);
        [DllImport(Library)] public static extern int tenure_space_stats(SpacePointer space, out Stats stats);
        [DllImport(Library)] public static extern int tenure_space_check(
            SpacePointer space, byte[] text, UIntPtr size, out UIntPtr violations, out UIntPtr pending);
        [DllImport(Library)] public static extern int tenure_space_remove(Backend backend, byte[] name, int force);
        [DllImport(Library)] public static extern int tenure_join(SpacePointer space, out IntPtr member);
        [DllImport(Library)] public static extern int tenure_leave(IntPtr member);
        [DllImport(Library)] public static extern int tenure_lease(MemberPointer member, out ulong lease);
        [DllImport(Library)] public static extern int tenure_recover(MemberPointer member, out UIntPtr recovered);
        [DllImport(Library)] public static extern int tenure_trim(MemberPointer member, out ulong bytes);
        [DllImport(Library)] public static extern int tenure_local_open_unbound(MemberPointer member, out IntPtr local);
        [DllImport(Library)] public static extern int tenure_local_close(IntPtr local);
        [DllImport(Library)] public static extern int tenure_create(
            IntPtr local, uint kind, byte[] data, UIntPtr size, out Found handle);
        [DllImport(Library)] public static extern int tenure_create_with(
            IntPtr local, uint kind, ulong offset, UIntPtr size, out Found handle);
        [DllImport(Library)] public static extern int tenure_open(
            IntPtr local, uint kind, ulong token, out Found handle);
        [DllImport(Library)] public static extern int tenure_close(IntPtr local, ulong token);
        [DllImport(Library)] public static extern int tenure_alloc_zeroed(
            IntPtr local, UIntPtr size, UIntPtr align, out Found block);
        [DllImport(Library)] public static extern int tenure_free(IntPtr local, ulong offset);
        [DllImport(Library)] public static extern int tenure_free_of(IntPtr local, ulong offset, ulong lease);
        [DllImport(Library)] public static extern int tenure_block_of(
            IntPtr local, ulong offset, ulong lease, out Found block);

        /// <summary>Throws the exception of a status.</summary>
        public static void Check(int status)
        {
            // Two results that are no errors are positive.
            if (status >= 0)
                return;
            string text = Text(tenure_last_error());
            throw new TenureException((Status)status, text.Length > 0 ? text : Text(tenure_strerror(status)));
        }

        static string Text(IntPtr text)
        {
            int length = 0;
            while (Marshal.ReadByte(text, length) != 0)
                length++;
            byte[] bytes = new byte[length];
            Marshal.Copy(text, bytes, 0, length);
            return Encoding.UTF8.GetString(bytes);
        }

        // Throws where a surrogate has no other half, for which it would otherwise put something else.
        static readonly Encoding strict = new UTF8Encoding(false, true);

        /// <summary>A name as C has it, where it ends at the first zero byte.</summary>
        public static byte[] Name(string name)
        {
            if (name != null && name.IndexOf('\0') >= 0)
                throw new ArgumentException("a name has no zero character", "name");
            return name == null ? null : strict.GetBytes(name + "\0");
        }
    }

    /// <summary>Memory that processes share. Attached, not joined: it holds nothing and writes nothing.</summary>
    public sealed partial class Space : IDisposable
    {
        readonly SpacePointer pointer;

        Space(IntPtr pointer)
        {
            this.pointer = new SpacePointer(pointer);
        }

        /// <summary>Creates the space of that name (Backend.File: path), or attaches to it; others have none.</summary>
        public static Space Open(string name, Options options = default(Options))
        {
            IntPtr space;
            options.Abi = Native.AbiVersion;
            Native.Check(Native.tenure_space_open(ref options, Native.Name(name), out space));
            return new Space(space);
        }

        /// <summary>Attaches to the space of that name, which must exist.</summary>
        public static Space Attach(string name, Options options = default(Options))
        {
            IntPtr space;
            options.Abi = Native.AbiVersion;
            Native.Check(Native.tenure_space_attach(ref options, Native.Name(name), out space));
            return new Space(space);
        }

        /// <summary>Attaches to a Backend.Memfd space by a file descriptor, which stays the caller's.</summary>
        public static Space AttachFd(int fd, Options options = default(Options))
        {
            IntPtr space;
            options.Abi = Native.AbiVersion;
            Native.Check(Native.tenure_space_attach_fd(ref options, fd, out space));
            return new Space(space);
        }

        /// <summary>Removes a space by name: nobody can attach any more.</summary>
        public static void Remove(string name, Backend backend = Backend.Shm, bool force = false)
        {
            Native.Check(Native.tenure_space_remove(backend, Native.Name(name), force ? 1 : 0));
        }

        /// <summary>Becomes a member.</summary>
        public Member Join()
        {
            IntPtr member;
            Native.Check(Native.tenure_join(pointer, out member));
            return new Member(member);
        }

        /// <summary>The file descriptor to pass to other processes.</summary>
        public int Fd
        {
            get
            {
                int fd;
                Native.Check(Native.tenure_space_fd(pointer, out fd));
                return fd;
            }
        }

        /// <summary>Where the name leads: a file can be removed while members live.</summary>
        public NameState NameState
        {
            get
            {
                NameState state;
                Native.Check(Native.tenure_space_name_state(pointer, out state));
                return state;
            }
        }

        /// <summary>The counts of objects and bytes in use.</summary>
        public Stats Stats
        {
            get
            {
                Stats stats;
                Native.Check(Native.tenure_space_stats(pointer, out stats));
                return stats;
            }
        }

        /// <summary>Checks every word; returns the number of impossible states, 0 in a correct space.</summary>
        public ulong Check()
        {
            UIntPtr violations, pending;
            Native.Check(Native.tenure_space_check(pointer, null, UIntPtr.Zero, out violations, out pending));
            return violations.ToUInt64();
        }

        /// <summary>Detaches; members stay members.</summary>
        public void Dispose()
        {
            pointer.CloseNow();
        }
    }

    /// <summary>This process, with the right to hold handles and blocks. Threads may share it.</summary>
    public sealed partial class Member : IDisposable
    {
        internal readonly MemberPointer pointer;

        /// <summary>Whether the member left: its handles and blocks are not mapped any more.</summary>
        internal bool Left { get; private set; }

        internal Member(IntPtr pointer)
        {
            this.pointer = new MemberPointer(pointer);
        }

        /// <summary>Makes a call that needs a local, and throws the exception of its status.</summary>
        internal void Call(Func<IntPtr, int> call)
        {
            IntPtr local = pointer.Rent();
            try
            {
                Native.Check(call(local));
            }
            finally
            {
                pointer.GiveBack(local);
            }
        }

        /// <summary>A number that tells this membership from any other; for FreeOf.</summary>
        public ulong Lease
        {
            get
            {
                ulong lease;
                Native.Check(Native.tenure_lease(pointer, out lease));
                return lease;
            }
        }

        /// <summary>Creates a handle of a kind, a number of the application's, with a copy of the bytes.</summary>
        public Handle Create(uint kind, byte[] data)
        {
            Found found = default(Found);
            Call(local => Native.tenure_create(local, kind, data, (UIntPtr)(uint)data.Length, out found));
            return new Handle(this, found);
        }

#if NETCOREAPP
        /// <summary>Creates a handle of a kind with a copy of the bytes.</summary>
        public unsafe Handle Create(uint kind, ReadOnlySpan<byte> data)
        {
            Found found;
            IntPtr local = pointer.Rent();
            try
            {
                fixed (byte* bytes = &MemoryMarshal.GetReference(data))
                    Native.Check(Native.tenure_create(local, kind, bytes, (UIntPtr)(uint)data.Length, out found));
            }
            finally
            {
                pointer.GiveBack(local);
            }
            return new Handle(this, found);
        }
#endif

        /// <summary>Creates a handle whose payload is the block, which belongs to it from now on.</summary>
        public Handle CreateWith(uint kind, Block block)
        {
            Found found = default(Found);
            block.MustBeOpen();
            Call(local => Native.tenure_create_with(local, kind, block.Offset, (UIntPtr)(ulong)block.Size, out found));
            block.Forget();
            return new Handle(this, found);
        }

        /// <summary>Opens a handle by its token: afterwards this process holds it once more.</summary>
        public Handle Open(uint kind, ulong token)
        {
            Found found = default(Found);
            Call(local => Native.tenure_open(local, kind, token, out found));
            return new Handle(this, found);
        }

        /// <summary>Allocates zeroed memory.</summary>
        public Block Alloc(long size, int align = 0)
        {
            Found found = default(Found);
            UIntPtr bytes = checked((UIntPtr)(ulong)size), multiple = checked((UIntPtr)(uint)align);
            Call(local => Native.tenure_alloc_zeroed(local, bytes, multiple, out found));
            return new Block(this, found, true);
        }

        /// <summary>A block that the member with that lease owns and passed to us; a pinned one if the lease is 0.
        /// Disposing of it frees nothing. If that member may be killed, call this again to verify the bytes that were
        /// read: WrongOwner, NotABlock or AlreadyFree mean that others may have had the memory.</summary>
        public Block BlockAt(ulong offset, ulong lease)
        {
            Found found = default(Found);
            Call(local => Native.tenure_block_of(local, offset, lease, out found));
            return new Block(this, found, false);
        }

        /// <summary>Frees a block of the member that has that lease, which passed it to us.</summary>
        public void FreeOf(ulong offset, ulong lease)
        {
            Call(local => Native.tenure_free_of(local, offset, lease));
        }

        /// <summary>Whether this member is notified of deaths: 1 at once, 2 late, 0 not asked for, -1 not.</summary>
        public int Monitor
        {
            get
            {
                int monitor;
                Native.Check(Native.tenure_monitor(pointer, out monitor));
                return monitor;
            }
        }

        /// <summary>Recovers dead members; returns their number.</summary>
        public ulong Recover()
        {
            UIntPtr recovered;
            Native.Check(Native.tenure_recover(pointer, out recovered));
            return recovered.ToUInt64();
        }

        /// <summary>Gives idle memory back to the system; returns the bytes.</summary>
        public ulong Trim()
        {
            ulong bytes;
            Native.Check(Native.tenure_trim(pointer, out bytes));
            return bytes;
        }

        /// <summary>Leaves, and gives back everything still held. InUse while other threads are in calls of
        /// it.</summary>
        public void Dispose()
        {
            pointer.CloseNow();
            Left = true;
        }
    }

    /// <summary>Memory of the space, as long as it is open.</summary>
    public abstract class Held : IDisposable
    {
        internal readonly Member Member;
        readonly IntPtr data;
        bool open = true;

        /// <summary>Bytes.</summary>
        public long Size { get; private set; }

        internal Held(Member member, Found found)
        {
            member.pointer.Hold();
            Member = member;
            data = found.Data;
            Size = (long)found.Size.ToUInt64();
        }

        /// <summary>Its address; nothing may be read or written there once it is disposed of.</summary>
        public IntPtr Data
        {
            get
            {
                MustBeOpen();
                return data;
            }
        }

        /// <summary>The 64-bit word at that many bytes, for Interlocked. It must not outlive this.</summary>
        public unsafe ref long Word(long position)
        {
            if (position < 0 || position % 8 != 0 || position > Size - 8)
                throw new ArgumentOutOfRangeException("position", "expected a multiple of 8 within the payload");
            return ref *(long*)((byte*)Data + position);
        }

        /// <summary>A copy of the bytes.</summary>
        public byte[] ToArray()
        {
            byte[] bytes = new byte[Size];
            if (Size > 0)
                Marshal.Copy(Data, bytes, 0, bytes.Length);
            return bytes;
        }

        internal void MustBeOpen()
        {
            if (!open || Member.Left)
                throw new ObjectDisposedException(GetType().Name);
        }

        internal void Forget()
        {
            open = false;
            Member.pointer.DangerousRelease();
        }

        /// <summary>Gives it back; a second time does nothing.</summary>
        public void Dispose()
        {
            if (!open)
                return;
            open = false;
            try
            {
                // A member that left has given it back.
                if (!Member.Left)
                    Release();
            }
            finally
            {
                Member.pointer.DangerousRelease();
            }
        }

        internal abstract void Release();
    }

    /// <summary>An object that lives as long as some process holds it.</summary>
    public sealed class Handle : Held
    {
        /// <summary>The number to pass to others. It keeps nothing alive.</summary>
        public ulong Token { get; private set; }

        internal Handle(Member member, Found found) : base(member, found)
        {
            Token = found.Number;
        }

#if NETCOREAPP
        /// <summary>The bytes, in place. It must not be used once this is disposed of.</summary>
        public unsafe ReadOnlySpan<byte> Span
        {
            get { return new ReadOnlySpan<byte>((void*)Data, checked((int)Size)); }
        }
#endif

        internal override void Release()
        {
            Member.Call(local => Native.tenure_close(local, Token));
        }
    }

    /// <summary>Scratch memory, freed when it is disposed of, or with the member.</summary>
    public sealed class Block : Held
    {
        readonly bool ours;

        /// <summary>Its offset, the same in every process.</summary>
        public ulong Offset { get; private set; }

        internal Block(Member member, Found found, bool ours) : base(member, found)
        {
            Offset = found.Number;
            this.ours = ours;
        }

#if NETCOREAPP
        /// <summary>The bytes, in place. It must not be used once this is disposed of.</summary>
        public unsafe Span<byte> Span
        {
            get { return new Span<byte>((void*)Data, checked((int)Size)); }
        }
#endif

        /// <summary>Copies bytes into it.</summary>
        public void Write(byte[] bytes, long position = 0)
        {
            if (position < 0 || position > Size - bytes.Length)
                throw new ArgumentOutOfRangeException("position");
            Marshal.Copy(bytes, 0, (IntPtr)((long)Data + position), bytes.Length);
        }

        /// <summary>Gives it to another process, which frees it by FreeOf with our lease. Returns its offset.</summary>
        public ulong Give()
        {
            MustBeOpen();
            Forget();
            return Offset;
        }

        internal override void Release()
        {
            if (ours)
                Member.Call(local => Native.tenure_free(local, Offset));
        }
    }
}
