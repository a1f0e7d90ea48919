#![no_main]
//! See `ipcq_fuzz::produce`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipcq_fuzz::produce(input));
