//! Single operations in one process, by criterion: for looking at one of them at a time. Comparisons are made by `cargo perf`,
//! where the subjects take turns.

use std::alloc::Layout;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use tenure_subjects::heaps::{malloc, mimalloc};
use tenure_subjects::mutex::{Locked, Robust};
use tenure_subjects::slabs::Sharded;
use tenure_subjects::tenured::Tenure;
use tenure_subjects::{Handles, Heap, Subject};

fn short<'c>(criterion: &'c mut Criterion, name: &str) -> BenchmarkGroup<'c, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400));
    group
}

fn handles(criterion: &mut Criterion) {
    fn cases<M: Handles>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut member: M) {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let held = member.create(black_box(7)).unwrap();
                black_box(member.get(&held).unwrap());
                member.close(held).unwrap();
            });
        });
    }
    let mut group = short(criterion, "handle create, get, close");
    cases(&mut group, "tenure", Tenure::unguarded().unwrap().join().unwrap());
    cases(&mut group, "robust-mutex", Locked::<Robust>::new().unwrap().join().unwrap());
    cases(&mut group, "sharded-slab", Sharded::default().join().unwrap());
    group.finish();
}

fn opens(criterion: &mut Criterion) {
    fn cases<M: Handles>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut member: M) {
        let held = member.create(7).unwrap();
        let token = member.token(&held);
        group.bench_function(format!("{name} open, close"), |bencher| {
            bencher.iter(|| {
                let opened = member.open(black_box(token)).unwrap();
                member.close(opened).unwrap();
            });
        });
        group.bench_function(format!("{name} get"), |bencher| {
            bencher.iter(|| member.get(black_box(&held)).unwrap());
        });
    }
    let mut group = short(criterion, "handle held already");
    cases(&mut group, "tenure", Tenure::unguarded().unwrap().join().unwrap());
    cases(&mut group, "robust-mutex", Locked::<Robust>::new().unwrap().join().unwrap());
    group.finish();
}

fn blocks(criterion: &mut Criterion) {
    fn cases<M: Heap>(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, layout: Layout, mut heap: M) {
        group.bench_function(format!("{name}, {} B", layout.size()), |bencher| {
            bencher.iter(|| {
                let block = heap.alloc(black_box(layout)).unwrap();
                black_box(heap.address(block));
                heap.free(block, layout).unwrap();
            });
        });
    }
    let mut group = short(criterion, "alloc, free");
    for layout in [Layout::new::<[u64; 8]>(), Layout::new::<[u64; 1 << 15]>()] {
        cases(&mut group, "tenure", layout, Tenure::unguarded().unwrap().join().unwrap());
        cases(&mut group, "robust-mutex", layout, Locked::<Robust>::new().unwrap().join().unwrap());
        cases(&mut group, "mimalloc", layout, mimalloc().join().unwrap());
        cases(&mut group, "malloc", layout, malloc().join().unwrap());
    }
    group.finish();
}

criterion_group!(single, handles, opens, blocks);
criterion_main!(single);
