// Shared memory from C# by hand: shm_open, ftruncate, mmap, writing and reading back, by two processes.
//
//     mcs -unsafe ByHand.cs && mono ByHand.exe
//
// ByHand.exe.config beside it tells Mono where today's libc keeps shm_open.

using System;
using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using System.Threading;

static class ByHand
{
    // As it was always written: shm_open was in librt. ByHand.exe.config maps it to where it is now.
    [DllImport("librt", SetLastError = true)] static extern int shm_open(string name, int flags, uint mode);
    [DllImport("librt", SetLastError = true)] static extern int shm_unlink(string name);
    [DllImport("libc", SetLastError = true)] static extern int ftruncate(int fd, long length);
    [DllImport("libc", SetLastError = true)] static extern int close(int fd);
    [DllImport("libc", SetLastError = true)] static extern int munmap(IntPtr address, UIntPtr length);
    [DllImport("libc", SetLastError = true)]
    static extern IntPtr mmap(IntPtr address, UIntPtr length, int protection, int flags, int fd, long offset);

    // Of Linux on x86-64 and aarch64.
    const int O_RDWR = 2, O_CREAT = 0x40, O_EXCL = 0x80, PROT_READ = 1, PROT_WRITE = 2, MAP_SHARED = 1;

    const int Length = 4096;
    const int Rounds = 100000;
    // The layout; both processes must agree, and nothing checks that they do.
    const int Counter = 0, AnswerLength = 8, TextLength = 16, Text = 24, Answer = 2048;

    static Exception Failed(string what)
    {
        return new Exception(what + ": errno " + Marshal.GetLastWin32Error());
    }

    static IntPtr Map(string name, int flags)
    {
        int fd = shm_open(name, flags, 0x180); // 0600
        if (fd < 0)
            throw Failed("shm_open");
        try
        {
            if ((flags & O_CREAT) != 0 && ftruncate(fd, Length) != 0)
                throw Failed("ftruncate");
            IntPtr memory = mmap(IntPtr.Zero, (UIntPtr)Length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
            if (memory == new IntPtr(-1))
                throw Failed("mmap");
            return memory;
        }
        finally
        {
            // The mapping needs it no more.
            close(fd);
        }
    }

    // Bytes first, then their number, so that a process that reads the number also reads the bytes.
    static unsafe void Write(IntPtr memory, int at, int lengthAt, string text)
    {
        byte[] bytes = Encoding.UTF8.GetBytes(text);
        Marshal.Copy(bytes, 0, memory + at, bytes.Length);
        Volatile.Write(ref *(long*)(memory + lengthAt), bytes.Length);
    }

    // And reading back.
    static unsafe string Read(IntPtr memory, int at, int lengthAt)
    {
        byte[] bytes = new byte[Volatile.Read(ref *(long*)(memory + lengthAt))];
        Marshal.Copy(memory + at, bytes, 0, bytes.Length);
        return Encoding.UTF8.GetString(bytes);
    }

    static unsafe void Count(IntPtr memory)
    {
        for (int i = 0; i < Rounds; i++)
            Interlocked.Increment(ref *(long*)(memory + Counter));
    }

    static void Second(string name)
    {
        IntPtr memory = Map(name, O_RDWR);
        Count(memory);
        Write(memory, Answer, AnswerLength, "the second process read: " + Read(memory, Text, TextLength));
        munmap(memory, (UIntPtr)Length);
    }

    static unsafe void First()
    {
        string name = "/byhand-" + Process.GetCurrentProcess().Id;
        IntPtr memory = Map(name, O_RDWR | O_CREAT | O_EXCL);
        try
        {
            Write(memory, Text, TextLength, "written from C#");
            string self = Assembly.GetExecutingAssembly().Location;
            var start = new ProcessStartInfo("mono", "\"" + self + "\" " + name) { UseShellExecute = false };
            using (Process second = Process.Start(start))
            {
                Count(memory);
                second.WaitForExit();
                if (second.ExitCode != 0)
                    throw new Exception("the second process ended with " + second.ExitCode);
            }
            Console.WriteLine(Read(memory, Answer, AnswerLength));
            Console.WriteLine("counted by both: " + Volatile.Read(ref *(long*)(memory + Counter)));
        }
        finally
        {
            munmap(memory, (UIntPtr)Length);
            // No other process does it: killed before this line, the memory stays until a user removes it from
            // /dev/shm.
            shm_unlink(name);
        }
    }

    static void Main(string[] arguments)
    {
        if (arguments.Length > 0)
            Second(arguments[0]);
        else
            First();
    }
}
