use aya::programs::Xdp;
fn main() {
    let data = std::fs::read(std::env::var("DIRECTOR_O").unwrap()).unwrap();
    let mut l = aya::EbpfLoader::new().map_max_entries("CONNECTIONS4", 500_000).load(&data).unwrap();
    let p: &mut Xdp = l.program_mut("director").unwrap().try_into().unwrap();
    match p.load() {
        Ok(()) => {
            let i = p.info().unwrap();
            println!(
                "insns {:?} xlated {:?} jited {}",
                i.verified_instruction_count(),
                i.size_translated(),
                i.size_jitted()
            )
        }
        Err(e) => {
            let s = format!("{e:?}");
            println!("{}", &s[s.len().saturating_sub(6000)..].replace("\\n", "\n"));
        }
    }
}
