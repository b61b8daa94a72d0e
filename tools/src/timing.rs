//! Single operations, measured beside those of others in one process and in turn, so that a noisy machine is noisy
//! for all of them. The figure is the median over the rounds; compare ratios, not nanoseconds of another day.
//!
//! The others are private: nothing of theirs survives the process, and nothing can be recovered. tenure's memory is
//! shared and recoverable to the last block while this runs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::time::Instant;

use mimalloc::MiMalloc;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use serde::Serialize;
use tenure::{Kind, Local, Scratch, Space};

use crate::table::Table;

const ROUNDS: usize = 31;
const WARM_ROUNDS: usize = 3;
const HELD_BLOCKS: usize = 8;

/// Why there are no figures.
pub type TimingError = Box<dyn std::error::Error + Send + Sync>;

/// One operation, in nanoseconds: medians over the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct Timing {
    /// What was measured.
    pub operation: &'static str,
    /// tenure.
    pub tenure_ns_p50: f64,
    /// mimalloc, where it has such an operation.
    pub mimalloc_ns_p50: Option<f64>,
    /// The system's malloc, where it has such an operation.
    pub malloc_ns_p50: Option<f64>,
    /// tenure divided by mimalloc.
    pub ratio: Option<f64>,
}

impl Timing {
    /// The table that the demo prints.
    pub fn table(timings: &[Timing]) -> Table<5> {
        let mut table =
            Table::new(["ns, median (alone, same run)", "tenure", "mimalloc", "malloc", "tenure/mimalloc"]);
        let cell = |ns: Option<f64>| ns.map_or_else(|| "-".to_owned(), |ns| format!("{ns:.1}"));
        for timing in timings {
            table.row([
                timing.operation.to_owned(),
                cell(Some(timing.tenure_ns_p50)),
                cell(timing.mimalloc_ns_p50),
                cell(timing.malloc_ns_p50),
                timing.ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            ]);
        }
        table
    }
}

/// Something that allocates.
trait Heap {
    type Block: Copy;
    /// A block, of which the first byte has been written.
    fn alloc(&mut self, layout: Layout) -> Result<Self::Block, TimingError>;
    fn free(&mut self, block: Self::Block, layout: Layout) -> Result<(), TimingError>;
}

impl Heap for Local<'_> {
    type Block = Scratch;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Result<Scratch, TimingError> {
        let block = Local::alloc(self, layout)?;
        // SAFETY: the block was just allocated and has at least one byte.
        unsafe { black_box(self.address(block)).write(1) };
        Ok(block)
    }

    #[inline]
    fn free(&mut self, block: Scratch, _: Layout) -> Result<(), TimingError> {
        Ok(Local::free(self, block)?)
    }
}

struct Global<A>(A);

impl<A: GlobalAlloc> Heap for Global<A> {
    type Block = *mut u8;

    #[inline]
    fn alloc(&mut self, layout: Layout) -> Result<*mut u8, TimingError> {
        // SAFETY: no layout here has size zero.
        let start = unsafe { self.0.alloc(layout) };
        if start.is_null() {
            return Err("out of memory".into());
        }
        // SAFETY: the block was just allocated and has at least one byte.
        unsafe { black_box(start).write(1) };
        Ok(start)
    }

    #[inline]
    fn free(&mut self, block: *mut u8, layout: Layout) -> Result<(), TimingError> {
        // SAFETY: the caller got it from `alloc` with this layout and frees it once.
        unsafe { self.0.dealloc(block, layout) };
        Ok(())
    }
}

/// What is done to every heap.
struct Workload {
    small: Layout,
    batch: Vec<Layout>,
    batch_order: Vec<usize>,
    large: Vec<Layout>,
}

impl Workload {
    fn new() -> Result<Self, TimingError> {
        let mut rng = StdRng::seed_from_u64(1);
        let of = |bytes| Layout::from_size_align(bytes, 16);
        let batch: Result<Vec<_>, _> = (0..1000).map(|_| of(rng.random_range(16..=1024))).collect();
        let large: Result<Vec<_>, _> = (0..64).map(|_| of(rng.random_range(64 << 10..=4 << 20))).collect();
        let mut batch_order: Vec<usize> = (0..1000).collect();
        batch_order.shuffle(&mut rng);
        Ok(Self { small: of(64)?, batch: batch?, batch_order, large: large? })
    }

    /// Nanoseconds of one alloc and free: 64 bytes with eight held, a batch freed in random order, large ones.
    fn round<H: Heap>(&self, heap: &mut H) -> Result<[f64; 3], TimingError> {
        let mut held = [heap.alloc(self.small)?; HELD_BLOCKS];
        for block in &mut held[1..] {
            *block = heap.alloc(self.small)?;
        }
        let small_ns = each_ns(20_000, |turn| {
            let oldest = &mut held[turn % HELD_BLOCKS];
            heap.free(*oldest, self.small)?;
            *oldest = heap.alloc(self.small)?;
            Ok(())
        })?;
        for block in held {
            heap.free(block, self.small)?;
        }
        let mut blocks = Vec::with_capacity(self.batch.len());
        let batch_ns = each_ns(4, |_| {
            for &layout in &self.batch {
                blocks.push(heap.alloc(layout)?);
            }
            for &index in &self.batch_order {
                heap.free(blocks[index], self.batch[index])?;
            }
            blocks.clear();
            Ok(())
        })?;
        let large_ns = each_ns(256, |turn| {
            let layout = self.large[turn % self.large.len()];
            let block = heap.alloc(layout)?;
            heap.free(block, layout)
        })?;
        Ok([small_ns, batch_ns / self.batch.len() as f64, large_ns])
    }
}

fn each_ns(
    times: usize,
    mut operation: impl FnMut(usize) -> Result<(), TimingError>,
) -> Result<f64, TimingError> {
    let started = Instant::now();
    for turn in 0..times {
        operation(turn)?;
    }
    Ok(started.elapsed().as_nanos() as f64 / times as f64)
}

/// Nanoseconds of: create, get and close; open and close of what is held already.
fn handle_round(local: &mut Local<'_>) -> Result<[f64; 2], TimingError> {
    let kind = Kind::raw(1);
    let create_ns = each_ns(10_000, |turn| {
        let held = local.create(kind, &turn.to_le_bytes())?;
        black_box(local.get(&held)?);
        Ok(local.close(held)?)
    })?;
    let first = local.create(kind, &[7; 8])?;
    let token = local.token(&first);
    let open_ns = each_ns(10_000, |_| {
        let held = local.open(kind, black_box(token))?;
        Ok(local.close(held)?)
    })?;
    local.close(first)?;
    Ok([create_ns, open_ns])
}

/// Measures for some tenths of a second.
///
/// # Errors
/// Whatever an operation answers; none should.
pub fn measure() -> Result<Vec<Timing>, TimingError> {
    let space = Space::options().handles(1 << 12).scratch(128 << 20).memfd()?;
    let member = space.join()?;
    let mut local = member.local();
    let workload = Workload::new()?;
    // tenure, mimalloc, malloc; then the handles.
    let mut heaps: [[Vec<f64>; 3]; 3] = Default::default();
    let mut handles: [Vec<f64>; 2] = Default::default();
    for round in 0..WARM_ROUNDS + ROUNDS {
        let figures = [
            workload.round(&mut local)?,
            workload.round(&mut Global(MiMalloc))?,
            workload.round(&mut Global(System))?,
        ];
        let handle_figures = handle_round(&mut local)?;
        if round < WARM_ROUNDS {
            continue;
        }
        for (samples, figures) in heaps.iter_mut().zip(figures) {
            samples.iter_mut().zip(figures).for_each(|(samples, ns)| samples.push(ns));
        }
        handles.iter_mut().zip(handle_figures).for_each(|(samples, ns)| samples.push(ns));
    }
    let [tenure, mimalloc, malloc] = heaps.map(|heap| heap.map(median));
    let names =
        ["alloc+free 64 B, 8 held", "alloc+free 16..1024 B, batch of 1000", "alloc+free 64 KiB..4 MiB"];
    let mut timings: Vec<Timing> = (0..names.len())
        .map(|index| Timing {
            operation: names[index],
            tenure_ns_p50: tenure[index],
            mimalloc_ns_p50: Some(mimalloc[index]),
            malloc_ns_p50: Some(malloc[index]),
            ratio: Some(tenure[index] / mimalloc[index]),
        })
        .collect();
    let handle_names = ["handle create+get+close", "handle second open+close"];
    for (operation, samples) in handle_names.into_iter().zip(handles) {
        let tenure_ns_p50 = median(samples);
        timings.push(Timing {
            operation,
            tenure_ns_p50,
            mimalloc_ns_p50: None,
            malloc_ns_p50: None,
            ratio: None,
        });
    }
    Ok(timings)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}
