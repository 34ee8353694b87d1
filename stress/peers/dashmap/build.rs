// SPDX-License-Identifier: LGPL-2.1-or-later
//! Tells the program which dashmap and which compiler it was built with.
use std::{env, fs, process::Command};

fn main() {
	let lock = fs::read_to_string("Cargo.lock").unwrap_or_default();
	let version = lock
		.split("[[package]]")
		.find(|package| package.contains("name = \"dashmap\""))
		.and_then(|package| package.split("version = \"").nth(1)?.split('"').next())
		.unwrap_or("of unknown version");
	let compiler = Command::new(env::var("RUSTC").unwrap_or_else(|_| "rustc".into())).arg("--version").output();
	let compiler = compiler.map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()).unwrap_or_default();

	println!("cargo:rustc-env=PEER_VERSION={} {}", version, compiler);
}
