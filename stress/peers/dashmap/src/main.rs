// SPDX-License-Identifier: LGPL-2.1-or-later
//! dashmap with Weak<..>, as a program that the benchmark speaks to line by line (../../README.md).
//!
//! Keys, random numbers, the check of every value and the way a run is timed are those of bench/measure.hpp.
mod work;

use std::io::{self, BufRead, Write};

use work::{memory_per_entry, Field, Str24, Task};

/// Reads one line; None when the benchmark is gone.
fn line() -> Option<String> {
	let mut text = String::new();
	match io::stdin().lock().read_line(&mut text) {
		Ok(n) if n > 0 => Some(text.trim().to_string()),
		_ => None,
	}
}

fn say(text: &str) {
	let mut out = io::stdout().lock();
	if writeln!(out, "{}", text).and_then(|_| out.flush()).is_err() {
		std::process::exit(0);
	}
}

fn populate(words: &[&str]) -> Result<Box<dyn Task>, String> {
	let number = |text: &str| text.parse::<usize>().map_err(|_| format!("error '{}' is no number", text));
	let (workload, key, n, draws) = match words {
		[w, k, n] => (*w, *k, number(n)?, 1 << 20),
		[w, k, n, draws] => (*w, *k, number(n)?, number(draws)?),
		_ => return Err("error populate WORKLOAD KEY N [DRAWS]".into()),
	};
	if n == 0 || !draws.is_power_of_two() {
		return Err("error no keys, or DRAWS is no power of two".into());
	}
	let draws = draws as u64;
	match (workload, key) {
		("w1" | "w2" | "w3" | "w4", "u64") => Ok(Box::new(Field::<u64>::new(workload, n, draws))),
		("w1" | "w2" | "w3" | "w4", "str24") => Ok(Box::new(Field::<Str24>::new(workload, n, draws))),
		("w10", _) => Err("absent it has no bound".into()),
		_ => Err(format!("absent {} of {} is not done here", workload, key)),
	}
}

fn run(task: Option<&mut Box<dyn Task>>, words: &[&str]) -> Option<String> {
	let task = task?;
	let threads = words.first()?.parse().ok()?;
	let seconds = words.get(1)?.parse().ok()?;
	let seed = words.get(2)?.parse().ok()?;
	let mops = task.run(threads, seconds, seed, &mut |ids| {
		for (i, id) in ids.iter().enumerate() {
			say(&format!("thread {} {}", i, id));
		}
		if line().as_deref() != Some("go") {
			std::process::exit(0);
		}
	});
	Some(format!("mops {}", mops))
}

fn main() {
	let mut task: Option<Box<dyn Task>> = None;

	while let Some(text) = line() {
		let words: Vec<&str> = text.split_whitespace().collect();
		match words.first().copied() {
			Some("hello") => say(&format!("peer dashmap {}", env!("PEER_VERSION"))),
			Some("populate") => {
				drop(task.take());
				match populate(&words[1..]) {
					Ok(made) => {
						task = Some(made);
						say("ok");
					}
					Err(why) => say(&why),
				}
			}
			Some("run") => match run(task.as_mut(), &words[1..]) {
				Some(answer) => say(&answer),
				None => say("error run THREADS SECONDS SEED, after populate"),
			},
			Some("memory") => match (words.get(1), words.get(2).and_then(|n| n.parse().ok())) {
				(Some(&"u64"), Some(n)) => say(&format!("bytes {}", memory_per_entry::<u64>(n))),
				(Some(&"str24"), Some(n)) => say(&format!("bytes {}", memory_per_entry::<Str24>(n))),
				_ => say("error memory KEY N"),
			},
			Some("quit") => std::process::exit(0), /* nobody waits for a million objects to die */
			_ => say("error what is that?"),
		}
	}
}
