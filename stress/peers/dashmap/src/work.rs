// SPDX-License-Identifier: LGPL-2.1-or-later
//! The subject and its workloads, step for step those of bench/: measure.hpp, populated.hpp, w1.cpp, w4.cpp, w6.cpp.
use std::fs;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

use dashmap::mapref::entry::Entry;
use dashmap::DashMap;

pub struct Payload {
	word: [u64; 8],
}

/// splitmix64, Steele, Lea and Flood 2014
fn mix(x: u64) -> u64 {
	let mut x = x.wrapping_add(0x9e3779b97f4a7c15);
	x = (x ^ (x >> 30)).wrapping_mul(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)).wrapping_mul(0x94d049bb133111eb);
	x ^ (x >> 31)
}

/// xorshift64*, Vigna 2016
pub struct Random {
	state: u64,
}

impl Random {
	fn new(seed: u64) -> Random {
		Random { state: mix(seed) | 1 }
	}
	#[inline]
	fn below(&mut self, n: u64) -> u64 {
		self.state ^= self.state >> 12;
		self.state ^= self.state << 25;
		self.state ^= self.state >> 27;
		((self.state.wrapping_mul(0x2545f4914f6cdd1d) as u128 * n as u128) >> 64) as u64
	}
}

/// Zipf's law by the alias method (Walker 1977; tables after Vose 1991).
struct Zipf {
	cells: Vec<(u32, u32)>,
}

impl Zipf {
	fn new(keys: usize, exponent: f64) -> Zipf {
		let mut share: Vec<f64> = (0..keys).map(|k| (k as f64 + 1.0).powf(-exponent)).collect();
		let all: f64 = share.iter().sum();
		let (mut poor, mut rich) = (Vec::new(), Vec::new());
		let mut cells = Vec::with_capacity(keys);

		for (k, s) in share.iter_mut().enumerate() {
			*s *= keys as f64 / all;
			cells.push((u32::MAX, k as u32));
			if *s < 1.0 { poor.push(k) } else { rich.push(k) }
		}
		while !poor.is_empty() && !rich.is_empty() {
			let (p, r) = (poor.pop().unwrap(), rich.pop().unwrap());

			cells[p] = ((share[p] * 4294967296.0) as u32, r as u32);
			share[r] -= 1.0 - share[p];
			if share[r] < 1.0 { poor.push(r) } else { rich.push(r) }
		}
		Zipf { cells }
	}
	#[inline]
	fn draw(&self, random: &mut Random) -> u64 {
		let place = random.below((self.cells.len() as u64) << 32);
		let (cut, other) = self.cells[(place >> 32) as usize];

		if (place as u32) < cut { place >> 32 } else { other as u64 }
	}
}

pub trait Key: Hash + Eq + Copy + Send + Sync + 'static {
	fn make(i: u64) -> Self;
}

impl Key for u64 {
	#[inline]
	fn make(i: u64) -> u64 {
		mix(i)
	}
}

#[derive(Hash, PartialEq, Eq, Clone, Copy)]
pub struct Str24([u8; 24]);

impl Key for Str24 {
	#[inline]
	fn make(i: u64) -> Str24 {
		let bits = mix(i);
		let mut text = *b"object/k................";

		for j in 0..16 {
			text[8 + j] = b'a' + (bits >> (4 * j) & 15) as u8;
		}
		Str24(text)
	}
}

type Map<K> = DashMap<K, Weak<Object<K>>, ahash::RandomState>;

/// Takes its entry out of the map when it dies, as the C++ peers' objects do.
struct Object<K: Key> {
	payload: Payload,
	key: K,
	map: &'static Map<K>,
}

impl<K: Key> Drop for Object<K> {
	fn drop(&mut self) {
		self.map.remove_if(&self.key, |_, value| value.strong_count() == 0);
	}
}

/// A hit takes a shard's lock shared; only a miss and a death take it exclusively.
#[derive(Clone, Copy)]
struct Subject<K: Key> {
	map: &'static Map<K>, /* never freed: a process has but one */
}

impl<K: Key> Subject<K> {
	fn new() -> Subject<K> {
		Subject { map: Box::leak(Box::new(DashMap::with_hasher(ahash::RandomState::new()))) }
	}
	#[inline]
	fn get(&self, key: K, load: impl FnOnce(&mut Payload)) -> Arc<Object<K>> {
		if let Some(found) = self.map.get(&key) {
			if let Some(held) = found.upgrade() {
				return held;
			}
		}
		self.load(key, load)
	}
	fn load(&self, key: K, load: impl FnOnce(&mut Payload)) -> Arc<Object<K>> {
		match self.map.entry(key) {
			Entry::Occupied(mut slot) => match slot.get().upgrade() {
				Some(held) => held,
				None => {
					let made = self.fresh(key, load);
					slot.insert(Arc::downgrade(&made));
					made
				}
			},
			Entry::Vacant(slot) => {
				let made = self.fresh(key, load);
				slot.insert(Arc::downgrade(&made));
				made
			}
		}
	}
	fn fresh(&self, key: K, load: impl FnOnce(&mut Payload)) -> Arc<Object<K>> {
		let mut payload = Payload { word: [0; 8] };
		load(&mut payload);
		Arc::new(Object { payload, key, map: self.map })
	}
}

/// What measure.hpp's run_threads() does. `started` is told the threads' ids and returns when they are to go.
fn run_threads(
	threads: usize, seconds: f64, seed: u64, started: &mut dyn FnMut(&[u64]), op: impl Fn(usize, &mut Random) + Sync,
) -> f64 {
	let (go, counting, stop) = (AtomicBool::new(false), AtomicBool::new(false), AtomicBool::new(false));
	let operations = AtomicU64::new(0);
	let ids = Mutex::new(vec![0; threads]);
	let end = Mutex::new(Instant::now()); /* of the last operation: not when the threads have ended */
	let ready = AtomicU64::new(0);
	let mut start = Instant::now();

	thread::scope(|scope| {
		for t in 0..threads {
			let (go, counting, stop, end) = (&go, &counting, &stop, &end);
			let (operations, ids, ready, op) = (&operations, &ids, &ready, &op);
			scope.spawn(move || {
				let mut random = Random::new(seed.wrapping_mul(131).wrapping_add(t as u64));
				let mut done = 0;

				ids.lock().unwrap()[t] = thread_id();
				ready.fetch_add(1, Ordering::SeqCst);
				while !go.load(Ordering::Acquire) {
					thread::yield_now();
				}
				while !stop.load(Ordering::Relaxed) {
					let counted = counting.load(Ordering::Relaxed);
					for _ in 0..128 {
						op(t, &mut random);
					}
					done += if counted { 128 } else { 0 };
				}
				let now = Instant::now();
				let mut latest = end.lock().unwrap();
				*latest = now.max(*latest);
				operations.fetch_add(done, Ordering::SeqCst);
			});
		}
		while ready.load(Ordering::SeqCst) < threads as u64 {
			thread::yield_now();
		}
		started(&ids.lock().unwrap());
		go.store(true, Ordering::Release);
		thread::sleep(Duration::from_secs_f64(seconds / 4.0)); /* what others pushed out of the caches comes back */
		start = Instant::now();
		counting.store(true, Ordering::SeqCst);
		thread::sleep(Duration::from_secs_f64(seconds));
		stop.store(true, Ordering::SeqCst);
	});
	let took = end.into_inner().unwrap().duration_since(start);
	operations.load(Ordering::SeqCst) as f64 / took.as_secs_f64() / 1e6
}

fn thread_id() -> u64 {
	let link = fs::read_link("/proc/thread-self").unwrap_or_default();
	link.file_name().and_then(|name| name.to_str()?.parse().ok()).unwrap_or(0)
}

fn check_value(got: u64, want: u64) {
	if got != want {
		eprintln!("dashmap: wrong value for key {}", want);
		std::process::exit(1);
	}
}

pub trait Task {
	fn run(&mut self, threads: usize, seconds: f64, seed: u64, started: &mut dyn FnMut(&[u64])) -> f64;
}

/// A thread's place in its order of keys, far from its neighbours' in memory.
#[repr(align(128))]
struct Place(AtomicU64);

/// The objects of W1, W2 and W3, which stay alive, or the keys of W4, where nobody holds anything.
pub struct Field<K: Key> {
	subject: Subject<K>,
	held: Vec<Arc<Object<K>>>,
	n: u64,
	draws: u64,            /* W2: of each thread, a power of two; 0: not W2 */
	drawn: Vec<Vec<u32>>, /* W2: by thread */
}

impl<K: Key> Field<K> {
	pub fn new(workload: &str, n: usize, draws: u64) -> Field<K> {
		let subject = Subject::new();
		let mut held = Vec::new();

		if workload != "w4" {
			held = (0..n as u64).map(|i| subject.get(K::make(i), |p| p.word[0] = i)).collect();
		}
		Field { subject, held, n: n as u64, draws: if workload == "w2" { draws } else { 0 }, drawn: Vec::new() }
	}
	#[inline]
	fn hit(&self, i: u64) {
		check_value(self.subject.get(K::make(i), |p| p.word[0] = i).payload.word[0], i);
	}
	/// Keys drawn beforehand, popular ones spread over the objects.
	fn draw(&mut self, threads: usize) {
		let had = self.drawn.len();
		if threads <= had {
			return;
		}
		let zipf = Zipf::new(self.n as usize, 0.99);
		for t in had..threads {
			let mut random = Random::new(977 + t as u64);
			let order = (0..self.draws).map(|_| (zipf.draw(&mut random) * 2654435761 % self.n) as u32);
			self.drawn.push(order.collect());
		}
	}
}

impl<K: Key> Task for Field<K> {
	fn run(&mut self, threads: usize, seconds: f64, seed: u64, started: &mut dyn FnMut(&[u64])) -> f64 {
		if self.draws > 0 {
			self.draw(threads);
			let places: Vec<Place> = (0..threads).map(|_| Place(AtomicU64::new(mix(seed) % self.draws))).collect();

			return run_threads(threads, seconds, seed, started, |t, _| {
				let at = places[t].0.load(Ordering::Relaxed);
				places[t].0.store(at + 1, Ordering::Relaxed);
				self.hit(self.drawn[t][(at & (self.draws - 1)) as usize] as u64)
			});
		}
		if !self.held.is_empty() {
			return run_threads(threads, seconds, seed, started, |_, random| self.hit(random.below(self.n)));
		}
		run_threads(threads, seconds, seed, started, |_, random| {
			let i = random.below(self.n);
			check_value(self.subject.get(K::make(i), |p| p.word = [i; 8]).payload.word[0], i);
		})
	}
}

fn resident_bytes() -> u64 {
	let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
	text.split_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0u64) * 4096
}

/// W6: bytes an entry net of its payload. This is the first thing that the process is asked.
pub fn memory_per_entry<K: Key>(n: usize) -> f64 {
	let mut held: Vec<Option<Arc<Object<K>>>> = Vec::new();
	held.resize_with(n, || None); /* its pages are counted before */
	let before = resident_bytes();
	let subject = Subject::<K>::new();

	for (i, slot) in held.iter_mut().enumerate() {
		*slot = Some(subject.get(K::make(i as u64), |p| p.word = [i as u64; 8]));
	}
	let bytes = (resident_bytes() - before) as f64 / n as f64 - std::mem::size_of::<Payload>() as f64;
	std::mem::forget(held); /* nobody lets go: the process ends */
	bytes
}
