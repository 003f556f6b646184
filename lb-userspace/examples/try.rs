use lb_userspace::dataplane::loader::*;
fn main() {
    match load(None, Capacity{ipv4:1_000_000, ipv6: 250_000}) { Ok(mut l) => { let p = l.program().unwrap(); let info = p.info().unwrap(); println!("ok {:?} insns {:?} jited {}", info.name_as_str(), info.verified_instruction_count(), info.size_jitted()); }, Err(e) => { let s = format!("{e:?}"); println!("{}", &s[s.len().saturating_sub(6000)..].replace("\\n","\n")); } }
}
