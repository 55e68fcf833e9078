//! A lease as workers over HTTP carry it: a text that only the port reads. It holds the proof, and what the end of the attempt is decided by;
//! these are facts of the grant, so nobody needs to read the job again. Nobody can guess its nonce; who alters the rest alters what becomes of
//! a job that is his own, or shows a lease that is nobody's.

use crate::job::{JobId, Lease, Leased, Name, Nonce, Run, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::Uuid;

/// The form of what follows; another one is of another version of this program.
const FORM: u8 = 1;

/// The longest there is: three names of the longest sort.
const MOST_BYTES: usize = 66 + 3 * (1 + Name::MAX_LEN);

/// Epochs and rows are whole numbers that every store can count to.
const MOST_NUMBER: i64 = 1 << 53;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    pub lease: Lease,
    pub run: Run,
    pub queue: Name,
    pub kind: Name,
    pub tenant: Option<Name>,
}

/// A text that is no lease of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoTicket;

impl Ticket {
    pub fn of(leased: &Leased) -> Self {
        let job = &leased.job;
        let (queue, kind, tenant) = (job.queue.clone(), job.kind.clone(), job.tenant.clone());
        Self { lease: leased.lease, run: job.run(), queue, kind, tenant }
    }

    pub fn text(&self) -> String {
        let Lease { job, epoch, nonce, row, granted_at } = self.lease;
        let mut bytes = Vec::with_capacity(128);
        bytes.push(FORM);
        bytes.extend_from_slice(job.0.as_bytes());
        bytes.extend_from_slice(nonce.0.as_bytes());
        for number in [epoch, row, granted_at.0] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for number in [self.run.attempt, self.run.max_attempts] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        for name in [self.queue.as_str(), self.kind.as_str(), self.tenant.as_deref().unwrap_or_default()] {
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend_from_slice(name.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn read(text: &str) -> Result<Self, NoTicket> {
        if text.len() > MOST_BYTES.div_ceil(3) * 4 {
            return Err(NoTicket);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NoTicket)?;
        let mut rest = Rest(&bytes);
        if rest.take::<1>()? != [FORM] {
            return Err(NoTicket);
        }
        let job = JobId(Uuid::from_bytes(rest.take()?));
        let nonce = Nonce(Uuid::from_bytes(rest.take()?));
        let (epoch, row, granted_at) = (rest.number(MOST_NUMBER)?, rest.number(i64::MAX)?, rest.number(Timestamp::MAX.0)?);
        let (attempt, max_attempts) = (u32::from_be_bytes(rest.take()?), u32::from_be_bytes(rest.take()?));
        let (queue, kind) = (rest.name()?.ok_or(NoTicket)?, rest.name()?.ok_or(NoTicket)?);
        let tenant = rest.name()?;
        if !rest.0.is_empty() {
            return Err(NoTicket);
        }
        let lease = Lease { job, epoch, nonce, row, granted_at: Timestamp(granted_at) };
        Ok(Self { lease, run: Run { job, attempt, max_attempts }, queue, kind, tenant })
    }
}

/// What of a text is not read yet.
struct Rest<'b>(&'b [u8]);

impl Rest<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], NoTicket> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NoTicket)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self, most: i64) -> Result<i64, NoTicket> {
        Some(i64::from_be_bytes(self.take()?)).filter(|number| (0..=most).contains(number)).ok_or(NoTicket)
    }

    fn name(&mut self) -> Result<Option<Name>, NoTicket> {
        let [length] = self.take()?;
        let (name, rest) = self.0.split_at_checked(usize::from(length)).ok_or(NoTicket)?;
        self.0 = rest;
        match std::str::from_utf8(name).map_err(|_| NoTicket)? {
            "" => Ok(None),
            name => Name::new(name).map(Some).map_err(|_| NoTicket),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticket(tenant: Option<&'static str>) -> Ticket {
        let job = JobId::mint();
        let lease = Lease { job, epoch: 7, nonce: Nonce::mint(), row: i64::from(u32::MAX) << 8, granted_at: Timestamp(1) };
        let (queue, kind) = (Name::literal("python"), Name::literal("py.thumbnail"));
        Ticket { lease, run: Run { job, attempt: 2, max_attempts: 5 }, queue, kind, tenant: tenant.map(Name::literal) }
    }

    #[test]
    fn ticket_is_read_as_it_was_written() {
        for ticket in [ticket(None), ticket(Some("acme"))] {
            assert_eq!(Ticket::read(&ticket.text()), Ok(ticket));
        }
        let long = Name::new(&"n".repeat(Name::MAX_LEN)).expect("a name");
        let longest = Ticket { queue: long.clone(), kind: long.clone(), tenant: Some(long), ..ticket(None) };
        assert_eq!(Ticket::read(&longest.text()), Ok(longest));
    }

    #[test]
    fn what_is_no_ticket_is_refused_whatever_it_is() {
        let text = ticket(Some("acme")).text();
        for cut in 0..text.len() {
            assert_eq!(Ticket::read(&text[..cut]), Err(NoTicket), "{cut}");
        }
        let twice = text.repeat(9);
        for wrong in ["!", "aGVsbG8", twice.as_str(), &format!("{text}A"), &format!("C{}", &text[1..]), "\u{e9}"] {
            assert_eq!(Ticket::read(wrong), Err(NoTicket), "{wrong}");
        }
        let odd = Lease { epoch: -1, ..ticket(None).lease };
        assert_eq!(Ticket::read(&Ticket { lease: odd, ..ticket(None) }.text()), Err(NoTicket));
        for n in 0..text.len() {
            // Never a panic; a letter that is another may still be a ticket, of nothing that was ever granted.
            let mut other = text.clone().into_bytes();
            other[n] = if other[n] == b'A' { b'B' } else { b'A' };
            let _ = Ticket::read(std::str::from_utf8(&other).expect("ASCII"));
        }
    }
}
