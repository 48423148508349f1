//! Builds OpenSSL 4, or says why it can't be built here (no C compiler, perl or make).

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(openssl4)");
    match openssl_src::Build::new().try_build() {
        Ok(built) => {
            // The linker needs these two in this order.
            println!("cargo::rustc-link-search=native={}", built.lib_dir().display());
            println!("cargo::rustc-link-lib=static=crypto");
            println!("cargo::rustc-cfg=openssl4");
        }
        Err(why) => {
            // In one line, as cargo requires.
            let why = why.split("Command failed:").next().unwrap_or(&why);
            let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
            println!("cargo::warning=OpenSSL 4 will be missing: {why}");
            println!("cargo::rustc-env=OPENSSL4_MISSING={why}");
        }
    }
}
