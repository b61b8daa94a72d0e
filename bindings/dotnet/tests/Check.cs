// Tests of Tenure.cs; the name of a space that nobody else uses is the argument.

using System;
using System.Text;
using System.Threading;
using Tenure;

static class Check
{
    const uint Kind = 7, Counter = 8;

    static void Holds(bool what, string text)
    {
        if (!what)
            throw new Exception("not so: " + text);
    }

    static void Fails(Status status, Action call)
    {
        try
        {
            call();
        }
        catch (TenureException error)
        {
            Holds(error.Status == status, "expected " + status + ", found " + error.Status + ": " + error.Message);
            Holds(error.Message.Length > 0, "a message");
            return;
        }
        throw new Exception("expected " + status + ", found no error");
    }

    static void Unharmed(Space space, ulong handles, ulong blocks)
    {
        Stats stats = space.Stats;
        Holds(space.Check() == 0, "no violations");
        Holds(stats.HandlesLive == handles, "handles: " + stats.HandlesLive);
        Holds(stats.BlocksLeased + stats.BlocksAttached + stats.BlocksPinned == blocks, "blocks");
    }

    static void Handles(Space space, Member me, Member other)
    {
        foreach (int size in new[] { 0, 5, 32, 33, 5000 })
        {
            byte[] bytes = new byte[size];
            for (int i = 0; i < size; i++)
                bytes[i] = (byte)(i * 7);
            Handle made = me.Create(Kind, bytes);
            using (Handle opened = other.Open(Kind, made.Token))
            {
                made.Dispose();
                made.Dispose();
                byte[] found = opened.ToArray();
                Holds(found.Length == size, "size");
                for (int i = 0; i < size; i++)
                    Holds(found[i] == bytes[i], "byte " + i);
            }
            Fails(Status.Stale, () => me.Open(Kind, made.Token));
            try
            {
                made.ToArray();
                Holds(size == 0, "disposed of");
            }
            catch (ObjectDisposedException)
            {
            }
        }
        Unharmed(space, 0, 0);
    }

    static void Blocks(Space space, Member me, Member other)
    {
        Block block = me.Alloc(1000);
        block.Write(Encoding.ASCII.GetBytes("hello"), 3);
        Fails(Status.WrongOwner, () => other.BlockAt(block.Offset, me.Lease + 256));
        Fails(Status.WrongOwner, () => other.BlockAt(block.Offset, 0));
        using (Block seen = other.BlockAt(block.Offset, me.Lease))
            Holds(Encoding.ASCII.GetString(seen.ToArray(), 3, 5) == "hello", "the other sees it");
        Unharmed(space, 0, 1);
        Handle handle = me.CreateWith(Kind, block);
        Holds(handle.Size == 1000 && handle.ToArray()[3] == (byte)'h', "attached");
        block.Dispose();
        handle.Dispose();
        Unharmed(space, 0, 0);
        ulong offset = me.Alloc(64).Give();
        Fails(Status.WrongOwner, () => other.FreeOf(offset, me.Lease + 256));
        other.FreeOf(offset, me.Lease);
        Fails(Status.AlreadyFree, () => other.BlockAt(offset, me.Lease));
        Fails(Status.TooLarge, () => me.Alloc(1L << 40));
        Fails(Status.Argument, () => me.Alloc(0));
        Throws<OverflowException>(() => me.Alloc(-1));
        Throws<OverflowException>(() => me.Alloc(100, -64));
        Unharmed(space, 0, 0);
    }

#if NETCOREAPP
    static void Spans(Space space, Member me, Member other)
    {
        byte[] bytes = { 1, 2, 3, 4 };
        foreach (int length in new[] { 0, 3 })
        {
            using (Handle made = me.Create(Kind, new ReadOnlySpan<byte>(bytes, 1, length)))
            using (Handle opened = other.Open(Kind, made.Token))
                Holds(opened.Span.SequenceEqual(new ReadOnlySpan<byte>(bytes, 1, length)), "the bytes");
        }
        using (Block block = me.Alloc(100))
        {
            bytes.AsSpan().CopyTo(block.Span.Slice(96));
            using (Block seen = other.BlockAt(block.Offset, me.Lease))
                Holds(seen.Span[99] == 4 && seen.Span.Length >= 100, "seen");
            block.Dispose();
            Throws<ObjectDisposedException>(() => block.Span.Clear());
        }
        Unharmed(space, 0, 0);
    }
#endif

    static void Throws<T>(Action call) where T : Exception
    {
        try
        {
            call();
        }
        catch (T)
        {
            return;
        }
        throw new Exception("expected " + typeof(T).Name + ", found no error");
    }

    static void CutNames(Space space, Member me)
    {
        const string cut = "a\0b", half = "a\ud800";
        using (SharedMutex kept = me.CreateMutex("a"))
        foreach (string wrong in new[] { cut, half })
        {
            Throws<ArgumentException>(() => me.CreateMutex(wrong, orOpen: true));
            Throws<ArgumentException>(() => me.CreateEvent(wrong));
            Throws<ArgumentException>(() => me.CreateSemaphore(0, 1, wrong));
            Throws<ArgumentException>(() => me.CreateProcess(0, wrong));
            Throws<ArgumentException>(() => me.CreateThread(0, wrong));
            Throws<ArgumentException>(() => me.CreateDescriptor(0, wrong));
            Throws<ArgumentException>(() => me.Create(Kind, new byte[1], wrong));
            Throws<ArgumentException>(() => me.Open(Kind, wrong));
            Throws<ArgumentException>(() => me.OpenObject(wrong));
            Throws<ArgumentException>(() => me.LookUp(wrong));
            Throws<ArgumentException>(() => Space.Open(wrong));
            Throws<ArgumentException>(() => Space.Attach(wrong));
            Throws<ArgumentException>(() => Space.Remove(wrong));
            Holds(space.Names.Length == 1, "one name");
        }
    }

    // Threads that used a member and live on do not keep it, and its memory is not touched after it has left.
    static void Leaving(Space space, Member other)
    {
        using (Block passed = other.Alloc(100))
        using (var used = new CountdownEvent(3))
        using (var end = new ManualResetEvent(false))
        {
            Member me = space.Join();
            var threads = new Thread[3];
            for (int i = 0; i < threads.Length; i++)
            {
                threads[i] = new Thread(() =>
                {
                    me.Alloc(100).Dispose();
                    used.Signal();
                    end.WaitOne();
                });
                threads[i].Start();
            }
            used.Wait();
            Handle handle = me.Create(Kind, new byte[100]);
            Block block = me.Alloc(1 << 20), view = me.BlockAt(passed.Offset, other.Lease);
            try
            {
                me.Dispose();
                foreach (Held held in new Held[] { handle, block, view })
                    Throws<ObjectDisposedException>(() => held.ToArray());
                Throws<ObjectDisposedException>(() => block.Write(new byte[1]));
                Throws<ObjectDisposedException>(() => block.Word(0)++);
            }
            finally
            {
                end.Set();
                foreach (Thread thread in threads)
                    thread.Join();
            }
        }
        Unharmed(space, 0, 0);
    }

    static void Errors(Space space, Member me)
    {
        Fails(Status.Geometry, () => Space.Open(null, new Options { Backend = Backend.Private, Members = 257 }));
        Fails(Status.Name, () => Space.Open("../up"));
        Fails(Status.NotFound, () => Space.Attach("test-nobody-made-this"));
        using (Handle handle = me.Create(Kind, new byte[8]))
        {
            Fails(Status.ForeignKind, () => me.Open(Kind + 1, handle.Token));
            Fails(Status.ForeignSpace, () => me.Open(Kind, handle.Token ^ 1UL << 56));
            Fails(Status.Forged, () => me.Open(Kind, handle.Token + (1 << 24)));
            try
            {
                handle.Word(8)++;
                Holds(false, "outside of the payload");
            }
            catch (ArgumentOutOfRangeException)
            {
            }
        }
        Unharmed(space, 0, 0);
    }

    static void Threads(Space space, Member me)
    {
        const int rounds = 5000;
        using (Handle counter = me.Create(Counter, new byte[16]))
        {
            var threads = new Thread[3];
            Exception failed = null;
            for (int i = 0; i < threads.Length; i++)
            {
                threads[i] = new Thread(() =>
                {
                    try
                    {
                        for (int j = 0; j < rounds; j++)
                        {
                            using (me.Create(Kind, new byte[j % 50]))
                            using (me.Alloc(1 + j % 300))
                                Interlocked.Add(ref counter.Word(8), 2);
                        }
                    }
                    catch (Exception error)
                    {
                        failed = error;
                    }
                });
                threads[i].Start();
            }
            foreach (Thread thread in threads)
                thread.Join();
            if (failed != null)
                throw failed;
            Holds(Volatile.Read(ref counter.Word(8)) == 2 * rounds * threads.Length, "counted");
        }
        Unharmed(space, 0, 0);
    }

    static void Objects(Space space, Member me, Member other)
    {
        bool abandoned;
        using (SharedMutex mutex = me.CreateMutex("mutex", recursive: true))
        {
            Holds(!mutex.Opened && !mutex.Lock() && !mutex.Lock(), "locked twice");
            var theirs = (SharedMutex)other.OpenObject("mutex");
            Holds(!theirs.TryLock(TimeSpan.FromMilliseconds(1), out abandoned), "not theirs");
            Fails(Status.NotOwner, () => theirs.Unlock());
            mutex.Unlock();
            Holds(!theirs.Wait(TimeSpan.Zero), "not yet");
            mutex.Unlock();
            Holds(theirs.TryLock(TimeSpan.Zero, out abandoned) && !abandoned, "theirs");
            // Its owner leaves.
            theirs.Dispose();
            theirs.Dispose();
            Throws<ObjectDisposedException>(() => theirs.Unlock());
            Holds(mutex.Lock(), "abandoned");
            mutex.Unlock();
            Fails(Status.NameTaken, () => other.CreateEvent("mutex"));
            Fails(Status.ForeignKind, () => other.CreateEvent("mutex", orOpen: true));
            using (SharedMutex again = other.CreateMutex("mutex", orOpen: true))
                Holds(again.Opened && again.Token == mutex.Token, "the same");
        }
        Fails(Status.NotFound, () => me.OpenObject("mutex"));
        using (SharedEvent manual = me.CreateEvent(manual: true), auto = me.CreateEvent(signalled: true))
        using (SharedSemaphore semaphore = me.CreateSemaphore(0, 2))
        using (SharedProcess self = me.CreateProcess())
        {
            Holds(auto.Wait() && !auto.IsSet && !auto.Reset(), "taken");
            var all = new SharedObject[] { self, manual, semaphore };
            Holds(SharedObject.WaitAny(all, TimeSpan.Zero, out abandoned) == -1, "nothing comes");
            using (SharedObject theirs = other.OpenObject(semaphore.Token))
                Holds(((SharedSemaphore)theirs).Release(2) == 0, "released");
            Fails(Status.Maximum, () => semaphore.Release());
            Holds(SharedObject.WaitAny(all, null, out abandoned) == 2 && semaphore.Count == 1, "the semaphore");
            ulong bits;
            var two = new SharedObject[] { manual, semaphore };
            Holds(!SharedObject.WaitAll(two, TimeSpan.FromMilliseconds(1), out bits), "not all");
            var setter = new Thread(() => manual.Set());
            setter.Start();
            Holds(SharedObject.WaitAll(two, null, out bits) && bits == 0 && semaphore.Count == 0, "all");
            setter.Join();
            Holds(self.Exit.How == How.Runs && self.Number > 0, "we run");
        }
        using (SharedDescriptor made = me.CreateDescriptor(0, "input"))
        using (var opened = (SharedDescriptor)other.OpenObject("input"))
            Holds(opened.Fd > 0 && opened.Fd != made.Fd, "a duplicate");
        using (me.Share(0, Modes.Read, Modes.Read))
        {
            using (FileShareEntry also = other.Share(0, Modes.Read, Modes.Read | Modes.Write))
            {
                Fails(Status.Sharing, () => other.Share(0, Modes.Write, Modes.Read));
                try
                {
                    other.Share(0, Modes.Write, Modes.Read);
                }
                catch (SharingException error)
                {
                    Holds(error.Who.Lease == me.Lease && error.Who.Access == Modes.Read, "who is in the way");
                }
                Holds(also.Everybody().Length == 2, "both");
            }
        }
        using (Handle named = me.Create(Kind, new byte[] { 1, 2 }, "raw"))
        {
            using (Handle opened = other.Open(Kind, "raw"))
                Holds(opened.Token == named.Token && opened.ToArray()[1] == 2, "opened by name");
            using (Handle opened = other.Create(Kind, new byte[9], "raw", orOpen: true))
                Holds(opened.Size == 2 && other.LookUp("raw") == named.Token, "not created");
        }
    }

    static void Names(Space space, Member me, Member other)
    {
        Holds(space.Names.Length == 0, "no names");
        using (Handle raw = me.Create(Kind, new byte[1], "Schlo\u00df"))
        using (SharedEvent stop = me.CreateEvent("event"))
        using (other.OpenObject("event"))
        {
            NameInUse[] names = space.Names;
            Holds(names.Length == 2 && names[0].Name == "Schlo\u00df" && names[1].Name == "event", "both, in order");
            Holds(names[0].Kind == Kind && names[0].Token == raw.Token && names[0].Holders == 1, "the handle");
            Holds(names[1].Kind == NameInUse.ObjectKind + 3 && names[1].Token == stop.Token, "the event");
            Holds(names[1].Holders == 2, "two members");
        }
        var many = new SharedEvent[20];
        for (int i = 0; i < many.Length; i++)
            many[i] = me.CreateEvent("event " + i);
        Holds(space.Names.Length == many.Length, "all of them");
        foreach (SharedEvent one in many)
            one.Dispose();
    }

    static void Ends(Space space, Member me, Member other)
    {
        using (SharedProcess self = me.CreateProcess(0, "process", orOpen: true))
        using (SharedProcess theirs = other.CreateProcess(1, "process", orOpen: true))
        {
            Holds(!self.Opened && theirs.Opened && theirs.Token == self.Token, "whichever has the name");
            Holds(theirs.Number == (uint)System.Diagnostics.Process.GetCurrentProcess().Id, "this one");
            Fails(Status.NameTaken, () => other.CreateProcess(0, "process"));
        }
        using (SharedDescriptor made = me.CreateDescriptor(0, "input", orOpen: true))
        using (SharedDescriptor opened = other.CreateDescriptor(2, "input", orOpen: true))
            Holds(!made.Opened && opened.Opened && opened.Token == made.Token, "whatever has the name");

        SharedThread mine = null;
        Exception failed = null;
        using (SharedEvent begun = me.CreateEvent(), go = me.CreateEvent())
        {
            var thread = new Thread(() =>
            {
                try
                {
                    using (SharedThread made = me.CreateThread(0, "thread", orOpen: true))
                    {
                        begun.Set();
                        go.Wait();
                        made.Exiting(-7);
                        Fails(Status.Announced, () => made.Exiting(7));
                    }
                }
                catch (TenureException error)
                {
                    failed = error;
                    begun.Set();
                }
            });
            thread.Start();
            begun.Wait();
            if (failed is TenureException && ((TenureException)failed).Status == Status.Unsupported)
            {
                thread.Join();
                Console.WriteLine("SKIPPED: threads: " + failed.Message);
                return;
            }
            mine = other.CreateThread(0, "thread", orOpen: true);
            Holds(mine.Opened && mine.Number != 0, "opened");
            using (SharedObject again = other.OpenObject("thread"))
                Holds(again is SharedThread && again.Token == mine.Token, "by name");
            Holds(!mine.Wait(TimeSpan.Zero) && mine.Exit.How == How.Runs, "it runs");
            Fails(Status.NotOwner, () => mine.Exiting(1));
            go.Set();
            thread.Join();
        }
        Holds(mine.Wait() && mine.Exit.How == How.Exited && mine.Exit.Code == -7, "it ended as it announced");
        mine.Dispose();
        if (failed != null)
            throw failed;
    }

    // On a stack of its own, so that nothing there refers to the objects afterwards.
    static void Apart(Action call)
    {
        var thread = new Thread(() => call());
        thread.Start();
        thread.Join();
    }

    // Collects until `done`.
    static void Collect(Func<bool> done)
    {
        for (int round = 0; !done(); round++)
        {
            Holds(round < 10000, "collected");
            // What is found on a stack by chance, Mono takes for a reference: other calls overwrite it.
            Apart(() => GC.KeepAlive(new byte[1000]));
            GC.Collect();
            GC.WaitForPendingFinalizers();
            Thread.Sleep(1);
        }
    }

    // What nobody refers to any more is closed: the object first, then its member. What is held keeps the member.
    static void Dropped(Space space)
    {
        Apart(() =>
        {
            for (int i = 0; i < 10; i++)
            {
                Member member = space.Join();
                member.CreateMutex("dropped " + i);
                member.Create(Kind, new byte[100]).Dispose();
                member.Alloc(10).Give();
            }
        });
        Collect(() => space.Stats.MembersLive == 0);
        Unharmed(space, 0, 0);
        IntPtr data = IntPtr.Zero;
        WeakReference kept = null;
        Apart(() =>
        {
            Member member = space.Join();
            Block block = member.Alloc(100);
            block.Write(new byte[] { 42 });
            data = block.Data;
            kept = new WeakReference(member);
        });
        Collect(() => !kept.IsAlive);
        for (int i = 0; i < 10; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
        Holds(space.Stats.MembersLive == 1 && System.Runtime.InteropServices.Marshal.ReadByte(data) == 42, "mapped");
    }

    // A caller that says that it reaped a process is believed.
    static void Reaped(Member me, Member other)
    {
        using (SharedProcess self = me.CreateProcess())
        using (var theirs = (SharedProcess)other.OpenObject(self.Token))
        {
            self.Reaped(5 << 8);
            Holds(theirs.Wait(TimeSpan.Zero) && theirs.Exit.How == How.Exited && theirs.Exit.Code == 5, "told");
            theirs.Reaped(9);
            Holds(self.Exit.How == How.Exited, "what is known stays");
        }
    }

    // A thread's part is given back when the thread has really ended, which is a little after Join.
    static void Leave(Member member)
    {
        for (;;)
        {
            try
            {
                member.Dispose();
                return;
            }
            catch (TenureException error)
            {
                if (error.Status != Status.InUse)
                    throw;
                Thread.Sleep(1);
            }
        }
    }

    static void Main(string[] arguments)
    {
        foreach (Backend backend in new[] { Backend.Shm, Backend.Memfd, Backend.Private })
        {
            string name = backend == Backend.Shm ? arguments[0] : null;
            var options = new Options { Backend = backend, ScratchBytes = 8 << 20 };
            using (Space space = Space.Open(name, options))
            {
                Member me = space.Join(), other = space.Join();
                Handles(space, me, other);
                Blocks(space, me, other);
                Errors(space, me);
                CutNames(space, me);
                Leaving(space, other);
                Threads(space, me);
                Objects(space, me, other);
                Names(space, me, other);
                Ends(space, me, other);
                Reaped(me, other);
                Unharmed(space, 0, 0);
#if NETCOREAPP
                Spans(space, me, other);
#endif
                if (backend == Backend.Memfd)
                {
                    using (Space again = Space.AttachFd(space.Fd))
                        Holds(again.Stats.MembersLive == 2, "the same space");
                }
                // A handle that is not disposed of goes with the member.
                me.Create(Kind, new byte[100]);
                Holds(me.Recover() == 0, "nobody died");
                me.Trim();
                Leave(me);
                Leave(other);
                Unharmed(space, 0, 0);
                Throws<ObjectDisposedException>(() => me.Recover());
                Throws<ObjectDisposedException>(() => me.Create(Kind, new byte[1]));
                Dropped(space);
                space.Dispose();
                Throws<ObjectDisposedException>(() => space.Join());
            }
            if (name != null)
                Space.Remove(name, force: true); // a member was kept: see Dropped
        }
        Console.WriteLine("check: ok");
    }
}
