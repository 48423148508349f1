//! The measured machine.

use std::{fs, thread};

/// The name of the CPU, as far as it is known.
pub fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = info.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name))?;
        line.split(':').nth(1).map(|value| value.trim().to_owned())
    };
    let name = field("model name").unwrap_or_else(|| format!("unknown CPU ({})", std::env::consts::ARCH));
    match (field("cpu family"), field("model")) {
        (Some(family), Some(model)) => format!("{name}, family {family}, model {model}"),
        _ => name,
    }
}

/// The features that decide which kernels can run.
pub fn features() -> String {
    #[cfg(target_arch = "x86_64")]
    let all = [
        ("AES-NI", is_x86_feature_detected!("aes")),
        ("PCLMULQDQ", is_x86_feature_detected!("pclmulqdq")),
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("VAES", is_x86_feature_detected!("vaes")),
        ("VPCLMULQDQ", is_x86_feature_detected!("vpclmulqdq")),
        ("AVX-512", is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl")),
    ];
    #[cfg(target_arch = "aarch64")]
    let all = [
        ("AES", std::arch::is_aarch64_feature_detected!("aes")),
        ("PMULL", std::arch::is_aarch64_feature_detected!("pmull")),
    ];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let all: [(&str, bool); 0] = [];
    let list = |there| {
        let names: Vec<_> = all.iter().filter(|(_, has)| *has == there).map(|(name, _)| *name).collect();
        names.join(", ")
    };
    match (list(true), list(false)) {
        (has, lacks) if lacks.is_empty() => has,
        (has, lacks) => format!("{has}; no {lacks}"),
    }
}

/// The number of CPUs, and their load before the run.
pub fn load() -> String {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    match load.split(' ').next() {
        Some(load) if !load.is_empty() => format!("{cpus} CPUs, load before the run {load}"),
        _ => format!("{cpus} CPUs"),
    }
}
