//! Adverts of VRRP. What must hold is in `checks/vrrp_decode.rs`.

#![no_main]

#[path = "../checks/vrrp_decode.rs"]
mod vrrp_decode;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    vrrp_decode::check(input);
});
