// The same on tenure, with a partner in Rust (or any language), which is killed in the end.
//
//     mcs -unsafe OnTenure.cs Tenure.cs Objects.cs && mono OnTenure.exe PARTNER [NAME]
//
// PARTNER is a program that is started with the name of the space and a token:
// `cargo build -p tenure-capi --example partner` builds target/debug/examples/partner.

using System;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Threading;
using Tenure;

static class OnTenure
{
    // The kinds of the payloads: numbers that all programs of the space agree on.
    const uint Counter = 1, Greeting = 2;
    const int Rounds = 100000;

    static void Main(string[] arguments)
    {
        string name = arguments.Length > 1 ? arguments[1] : "walk-through";
        using (Space space = Space.Open(name))
        using (Member me = space.Join())
        using (Handle counter = me.Create(Counter, new byte[8]))
        using (Handle text = me.Create(Greeting, Encoding.UTF8.GetBytes("written from C#")))
        {
            var start = new ProcessStartInfo(arguments[0], name + " " + counter.Token.ToString("x16"))
            {
                UseShellExecute = false,
                RedirectStandardInput = true,
                RedirectStandardOutput = true,
            };
            using (Process partner = Process.Start(start))
            {
                partner.StandardInput.WriteLine(text.Token.ToString("x16"));
                for (int i = 0; i < Rounds; i++)
                    Interlocked.Increment(ref counter.Word(0));
                // The partner answers when it has counted as far.
                ulong token = ulong.Parse(partner.StandardOutput.ReadLine(), NumberStyles.HexNumber);
                using (Handle answer = me.Open(Greeting, token))
                {
                    Console.WriteLine(Encoding.UTF8.GetString(answer.ToArray()));
                    Console.WriteLine("counted by both: " + Volatile.Read(ref counter.Word(0)));
                    Stats before = space.Stats;
                    Console.WriteLine("the partner holds blocks: " + (before.BlocksLeased > 0 ? "yes" : "no"));
                    partner.Kill();
                    partner.WaitForExit();
                    // The monitor does it as well, a moment later.
                    while (space.Stats.MembersLive > 1)
                        me.Recover();
                    Console.WriteLine("killed; what only it held: " + space.Stats.BlocksLeased);
                    // We hold its answer, so that is still there.
                    Console.WriteLine("still there: " + answer.Size + " bytes");
                }
            }
            Console.WriteLine("violations: " + space.Check());
        }
        // By force: a thread that waited for the partner's death may still be about to end.
        Space.Remove(name, force: true);
    }
}
