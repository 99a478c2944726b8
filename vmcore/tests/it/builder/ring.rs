//! The log's lockless ring of 5.10 and later.

use super::image::Image;

impl Image {
    /// The lines for all offsets of the log's ring and a ring with these records (time in ns, text).
    pub fn ring(&mut self, records: &[(u64, &str)], size_bits: u32) -> Ring {
        const OFFSETS: &str = "SIZE(prb_desc)=24\nSIZE(printk_info)=88\nOFFSET(printk_ringbuffer.desc_ring)=0\n\
            OFFSET(printk_ringbuffer.text_data_ring)=48\nOFFSET(prb_desc_ring.count_bits)=0\n\
            OFFSET(prb_desc_ring.descs)=8\nOFFSET(prb_desc_ring.infos)=16\nOFFSET(prb_desc_ring.head_id)=24\n\
            OFFSET(prb_desc_ring.tail_id)=32\nOFFSET(prb_desc.state_var)=0\nOFFSET(prb_desc.text_blk_lpos)=8\n\
            OFFSET(prb_data_blk_lpos.begin)=0\nOFFSET(prb_data_blk_lpos.next)=8\nOFFSET(printk_info.seq)=0\n\
            OFFSET(printk_info.ts_nsec)=8\nOFFSET(printk_info.text_len)=16\nOFFSET(printk_info.caller_id)=20\n\
            OFFSET(prb_data_ring.size_bits)=0\nOFFSET(prb_data_ring.data)=8\nOFFSET(atomic_long_t.counter)=0\n";
        const COUNT_BITS: u32 = 5;
        self.info.push_str(OFFSETS);
        let (descs, infos) = (self.alloc(24 << COUNT_BITS, 8), self.alloc(88 << COUNT_BITS, 8));
        let data = self.alloc(1 << size_bits, 8);
        let prb = self.alloc(88, 8);
        let pointer = self.store(&prb.to_le_bytes());
        self.symbol("prb", pointer);
        self.put32(prb, COUNT_BITS);
        self.put64(prb + 8, descs);
        self.put64(prb + 16, infos);
        self.put32(prb + 48, size_bits);
        self.put64(prb + 56, data);
        let ring = Ring { prb, descs, infos, data, size: 1 << size_bits };
        let (mut lpos, first) = (0, 1000);
        for (i, (time, text)) in records.iter().enumerate() {
            let id = first + i as u64;
            let (desc, info) = (ring.desc(id), ring.info(id));
            let begin = lpos;
            lpos += 8 + (text.len() as u64).next_multiple_of(8);
            // A block that does not fit before the end lies at the start; one that just fits stays.
            let wraps = begin / ring.size != (lpos - 1) / ring.size;
            if wraps {
                lpos = (lpos / ring.size) * ring.size + 8 + (text.len() as u64).next_multiple_of(8);
            }
            let place = data + if wraps { 0 } else { begin % ring.size };
            self.put64(desc, 2 << 62 | id);
            self.put64(desc + 8, begin);
            self.put64(desc + 16, lpos);
            self.put64(place, id);
            self.put(place + 8, text.as_bytes());
            self.put64(info, i as u64);
            self.put64(info + 8, *time);
            self.put(info + 16, &(text.len() as u16).to_le_bytes());
            self.put(info + 19, &[6 << 5]);
        }
        self.put64(prb + 32, first);
        self.put64(prb + 24, first + records.len() as u64 - 1);
        ring
    }
}

/// Where the parts of a ring lie, for damage on purpose.
pub struct Ring {
    pub prb: u64,
    descs: u64,
    infos: u64,
    pub data: u64,
    pub size: u64,
}

impl Ring {
    pub fn desc(&self, id: u64) -> u64 {
        self.descs + 24 * (id % 32)
    }

    pub fn info(&self, id: u64) -> u64 {
        self.infos + 88 * (id % 32)
    }
}
