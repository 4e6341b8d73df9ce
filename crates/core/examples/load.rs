use cloudhsm_alerts_core::rules::{RuleFile, RuleSet, watched::Watched};
fn main() {
    let mut files = Vec::new();
    for e in std::fs::read_dir(std::env::args().nth(1).unwrap()).unwrap() {
        let p = e.unwrap().path();
        files.push(RuleFile {
            name: p.display().to_string(),
            text: std::fs::read_to_string(&p).unwrap(),
        });
    }
    let set = RuleSet::with(&files, &Watched::default());
    println!("{}", set.unwrap().len());
}
