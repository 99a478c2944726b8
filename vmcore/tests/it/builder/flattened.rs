//! The flattened form of a file: its bytes as records, in any order.

/// In which order the records stand.
#[derive(Clone, Copy, Debug)]
pub enum Order {
    AsInFile,
    Backwards,
    /// Every other one first.
    OddFirst,
    /// Each twice, the first time with other bytes: the later one counts.
    Rewritten,
}

/// A stream of records of `size` bytes.
pub fn flatten(file: &[u8], size: usize, order: Order) -> Vec<u8> {
    let mut records: Vec<(usize, Vec<u8>)> =
        file.chunks(size).enumerate().map(|(i, data)| (i * size, data.to_vec())).collect();
    match order {
        Order::AsInFile => {}
        Order::Backwards => records.reverse(),
        Order::OddFirst => records.sort_by_key(|(at, _)| (at / size).is_multiple_of(2)),
        Order::Rewritten => {
            let wrong = |(at, data): &(usize, Vec<u8>)| (*at, data.iter().map(|byte| !byte).collect());
            records = records.iter().map(wrong).chain(records.iter().cloned()).collect();
        }
    }
    let mut out = b"makedumpfile\0\0\0\0".to_vec();
    [1_i64, 1].iter().for_each(|word| out.extend(word.to_be_bytes()));
    out.resize(4096, 0);
    for (at, data) in records {
        out.extend((at as i64).to_be_bytes());
        out.extend((data.len() as i64).to_be_bytes());
        out.extend(data);
    }
    out.extend([0xff; 16]);
    out
}
