use simulator::run::*;
#[allow(clippy::disallowed_methods)]
fn main() {
    let a: Vec<u64> = std::env::args().skip(1).map(|a| a.parse().unwrap()).collect();
    let t = std::time::Instant::now();
    let o = Options { seed: a[0], nodes: a[1] as usize, minutes: a[2] * 60 };
    let r = run(&o);
    println!("{r:?} {:?}", t.elapsed());
    if r.violation.is_some() && a.len() > 3 {
        let (s, r) = shrink(&o, a[3] as usize).unwrap();
        for i in &s {
            println!("{i:?}");
        }
        println!("{:?}", r.violation);
    }
}
