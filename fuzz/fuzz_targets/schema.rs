#![no_main]
//! See `ipcq_fuzz::schema`.

libfuzzer_sys::fuzz_target!(|input: &[u8]| ipcq_fuzz::schema(input));
