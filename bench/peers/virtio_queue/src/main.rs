//! Times rust-vmm's virtio-queue on the shapes of bench/ring/shapes.ts.
//!
//!     ring-peer MILLISECONDS
//!
//! Prints a line a shape: its name, a tab, nanoseconds a chain.

mod ring;

use std::env;
use std::hint::black_box;
use std::time::{Duration, Instant};

use ring::{Buffer, Ring, WRITE};
use virtio_queue::{QueueOwnedT, QueueT};
use vm_memory::{Bytes, GuestMemoryBackend};

/// Rounds between two looks at the clock.
const STRIDE: u32 = 16;
/// The time is cut into windows as short as a turn on the processor, and the best
/// one counts: what else the machine does is in the others.
const WINDOW: Duration = Duration::from_millis(2);
const REQUEST: [Buffer; 3] = [(0, 16), (WRITE, 4096), (WRITE, 1)];

/// Nanoseconds a call of `round`.
fn each(round: &mut impl FnMut(), length: Duration) -> f64 {
    let start = Instant::now();
    let mut count = 0u32;
    let mut passed = Duration::ZERO;
    while passed < length {
        for _ in 0..STRIDE {
            round();
        }
        count += STRIDE;
        passed = start.elapsed();
    }
    passed.as_nanos() as f64 / f64::from(count)
}

/// Says what one of the `chains` of a round takes in the best window, once a
/// quarter of the time has gone to warm up.
fn time(name: &str, chains: u16, length: Duration, mut round: impl FnMut()) {
    each(&mut round, length / 4);
    let start = Instant::now();
    let mut best = f64::MAX;
    while start.elapsed() < length {
        best = best.min(each(&mut round, WINDOW));
    }
    println!("{name}\t{:.3}", best / f64::from(chains));
}

/// Takes all chains there are, visits their descriptors, gives them back.
fn walk(ring: &mut Ring) -> u64 {
    let mut bytes = 0;
    while let Some(chain) = ring.queue.pop_descriptor_chain(&ring.memory) {
        let head = chain.head_index();
        for descriptor in chain {
            bytes += u64::from(descriptor.len());
        }
        ring.queue.add_used(&ring.memory, head, 0).unwrap();
    }
    black_box(ring.queue.needs_notification(&ring.memory).unwrap());
    bytes
}

/// As the criterion benchmark of virtio-queue: nothing is given back.
fn visit(ring: &mut Ring) -> u64 {
    let mut bytes = 0;
    for chain in ring.queue.iter(&ring.memory).unwrap() {
        for descriptor in chain {
            bytes += u64::from(descriptor.len());
        }
    }
    bytes
}

/// Serves a batch as a block device does, but for the disk.
fn serve(ring: &mut Ring) {
    while let Some(mut chain) = ring.queue.pop_descriptor_chain(&ring.memory) {
        let memory = &ring.memory;
        let head = chain.head_index();
        let header = chain.next().unwrap();
        assert!(!header.is_write_only() && header.len() >= 16);
        let kind: u32 = memory.read_obj(header.addr()).unwrap();
        let sector: u64 = memory
            .read_obj(
                header
                    .addr()
                    .0
                    .checked_add(8)
                    .map(vm_memory::GuestAddress)
                    .unwrap(),
            )
            .unwrap();
        assert!(kind == 0 && sector == 0);
        let data = chain.next().unwrap();
        assert!(data.is_write_only());
        let slice = memory.get_slice(data.addr(), data.len() as usize).unwrap();
        black_box((slice.ptr_guard_mut().as_ptr(), slice.len()));
        let status = chain.next().unwrap();
        assert!(status.is_write_only() && status.len() >= 1);
        memory.write_obj(0u8, status.addr()).unwrap();
        let written = data.len() + 1;
        ring.queue.add_used(&ring.memory, head, written).unwrap();
    }
    black_box(ring.queue.needs_notification(&ring.memory).unwrap());
}

fn main() {
    let milliseconds = env::args().nth(1).map_or(100, |text| text.parse().unwrap());
    let length = Duration::from_millis(milliseconds);
    let long = [(0, 512); 128];
    for indirect in [false, true] {
        let kind = if indirect { "indirect" } else { "direct" };
        let mut one = Ring::new(&long, 2, indirect);
        time(&format!("chain of 128, {kind}"), 1, length, || {
            one.publish(1);
            assert_eq!(walk(&mut one), 128 * 512);
        });
        let mut many = Ring::new(&long[..1], 128, indirect);
        time(&format!("128 chains of 1, {kind}"), 128, length, || {
            many.publish(128);
            assert_eq!(walk(&mut many), 128 * 512);
        });
        let mut again = Ring::new(&long, 1, indirect);
        again.publish(1);
        time(
            &format!("chain of 128, not given back, {kind}"),
            1,
            length,
            || {
                again.queue.set_next_avail(0);
                assert_eq!(visit(&mut again), 128 * 512);
            },
        );
        let mut all = Ring::new(&long[..1], 128, indirect);
        all.publish(128);
        time(
            &format!("128 chains of 1, not given back, {kind}"),
            128,
            length,
            || {
                all.queue.set_next_avail(0);
                assert_eq!(visit(&mut all), 128 * 512);
            },
        );
        let mut requests = Ring::new(&REQUEST, 64, indirect);
        time(&format!("64 chains of 3, {kind}"), 64, length, || {
            requests.publish(64);
            assert_eq!(walk(&mut requests), 64 * (16 + 4096 + 1));
        });
        let mut block = Ring::new(&REQUEST, 64, indirect);
        time(&format!("64 block requests, {kind}"), 64, length, || {
            block.publish(64);
            serve(&mut block);
        });
    }
}
