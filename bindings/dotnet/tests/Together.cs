// A C# process and one in Rust share a mutex and two events; the other one is killed while it has the mutex.
//
//     Together COMPANION NAME

using System;
using System.Diagnostics;
using Tenure;

static class Together
{
    const uint Counter = 1;
    const int Rounds = 2000;

    static void Main(string[] arguments)
    {
        string name = arguments[1];
        using (Space space = Space.Open(name))
        using (Member me = space.Join())
        using (SharedMutex mutex = me.CreateMutex("lock"))
        using (SharedEvent question = me.CreateEvent("question"))
        using (SharedEvent answer = me.CreateEvent("answer"))
        using (Handle counter = me.Create(Counter, new byte[8], "counter"))
        {
            var start = new ProcessStartInfo(arguments[0], name)
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
            };
            using (Process companion = Process.Start(start))
            using (SharedProcess process = me.CreateProcess((uint)companion.Id))
            {
                for (int i = 0; i < Rounds; i++)
                {
                    mutex.Lock();
                    counter.Word(0)++;
                    mutex.Unlock();
                }
                bool abandoned;
                var either = new SharedObject[] { answer, process };
                Say("answered", SharedObject.WaitAny(either, null, out abandoned) == 0);
                Console.WriteLine("counted by both: " + counter.Word(0));
                question.Set();
                answer.Wait();
                Say("it has the mutex", !mutex.TryLock(TimeSpan.Zero, out abandoned));
                Say("it runs", process.Exit.How == How.Runs);
                companion.Kill();
                Say("abandoned", mutex.Lock());
                mutex.Unlock();
                Say("and said to one only", !mutex.Lock());
                mutex.Unlock();
                process.Wait();
                Exit exit = process.Exit;
                Console.WriteLine("how it ended: " + exit.How + " " + exit.Code);
            }
            Console.WriteLine("violations: " + space.Check());
        }
        // By force: a thread that waited for the companion's death may still be about to end.
        Space.Remove(name, force: true);
    }

    static void Say(string what, bool so)
    {
        Console.WriteLine(what + ": " + (so ? "yes" : "no"));
    }
}
