//! A split ring whose chains are laid out once and published over and over.

use std::sync::atomic::Ordering;

use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
const INDIRECT: u16 = 4;

/// Where the memory starts, beyond 4 GiB, and how large it is.
const BASE: u64 = 0x1_c000_0000;
const SIZE: usize = 1 << 22;

/// One buffer of a chain: its flags but for NEXT, and its size.
pub type Buffer = (u16, u32);

/// A ring with the memory that it is in.
pub struct Ring {
    pub memory: GuestMemoryMmap,
    pub queue: Queue,
    size: u16,
    available: GuestAddress,
    index: u16,
    free: u64,
}

impl Ring {
    /// A ring that holds `count` chains alike, each in an indirect table or not.
    pub fn new(chain: &[Buffer], count: u16, indirect: bool) -> Self {
        let memory = GuestMemoryMmap::from_ranges(&[(GuestAddress(BASE), SIZE)]).unwrap();
        let length = if indirect { 1 } else { chain.len() as u16 };
        let size = (length * count).next_power_of_two();
        let mut ring = Ring {
            memory,
            queue: Queue::new(size).unwrap(),
            size,
            available: GuestAddress(0),
            index: 0,
            free: BASE,
        };
        let table = ring.allocate(16 * u64::from(size));
        ring.available = GuestAddress(ring.allocate(6 + 2 * u64::from(size)));
        let used = ring.allocate(6 + 8 * u64::from(size));
        for i in 0..size {
            let at = ring.available.0 + 4 + 2 * u64::from(i);
            ring.put16(at, length * (i % count));
        }
        for i in 0..count {
            if indirect {
                let at = ring.allocate(16 * chain.len() as u64);
                ring.put_chain(at, 0, chain);
                let bytes = 16 * chain.len() as u32;
                ring.put(table, i, at, bytes, INDIRECT, 0);
            } else {
                ring.put_chain(table, length * i, chain);
            }
        }
        let available = ring.available.0;
        let queue = &mut ring.queue;
        queue.set_size(size);
        queue.set_event_idx(true);
        queue.set_desc_table_address(Some(table as u32), Some((table >> 32) as u32));
        queue.set_avail_ring_address(Some(available as u32), Some((available >> 32) as u32));
        queue.set_used_ring_address(Some(used as u32), Some((used >> 32) as u32));
        queue.set_ready(true);
        assert!(queue.is_valid(&ring.memory));
        ring
    }

    /// Publishes the next `count` chains, and asks for a call when all are used.
    pub fn publish(&mut self, count: u16) {
        self.index = self.index.wrapping_add(count);
        let used_event = self.available.0 + 4 + 2 * u64::from(self.size);
        self.put16(used_event, self.index.wrapping_sub(1));
        let index = GuestAddress(self.available.0 + 2);
        self.memory
            .store(self.index.to_le(), index, Ordering::Release)
            .unwrap();
    }

    fn allocate(&mut self, size: u64) -> u64 {
        let at = (self.free + 15) & !15;
        self.free = at + size;
        at
    }

    fn put_chain(&mut self, table: u64, first: u16, chain: &[Buffer]) {
        for (i, &(flags, size)) in chain.iter().enumerate() {
            let at = self.allocate(u64::from(size));
            let index = first + i as u16;
            let more = if i + 1 < chain.len() { NEXT } else { 0 };
            self.put(table, index, at, size, flags | more, index + 1);
        }
    }

    fn put(&self, table: u64, index: u16, at: u64, size: u32, flags: u16, next: u16) {
        let place = table + 16 * u64::from(index);
        self.memory.write_obj(at, GuestAddress(place)).unwrap();
        self.memory
            .write_obj(size, GuestAddress(place + 8))
            .unwrap();
        self.put16(place + 12, flags);
        self.put16(place + 14, next);
    }

    fn put16(&self, at: u64, value: u16) {
        self.memory.write_obj(value, GuestAddress(at)).unwrap();
    }
}
