//! Who is connected: the cap over all, the cap of one peer, and who has to go when there is no room. A connection that asks for
//! nothing holds its place only until somebody needs it; one that is being answered keeps it.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// One that was asked to go may still be sending its answer; after so long the next one is asked as well.
const GOING: Duration = Duration::from_millis(50);

/// Cheap to clone: a handle.
#[derive(Clone)]
pub(super) struct Crowd(Arc<Places>);

struct Places {
    free: Arc<Semaphore>,
    per_peer: usize,
    turn: AtomicU64,
    /// Somebody began to rest.
    rested: Notify,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    peers: HashMap<IpAddr, usize>,
    /// By arrival.
    seats: BTreeMap<u64, Arc<Seat>>,
}

/// What a connection is doing, as far as its place depends on it.
mod doing {
    /// Has not sent a whole header yet.
    pub const NOTHING_YET: u8 = 0;
    pub const BEING_ANSWERED: u8 = 1;
    /// Between two requests.
    pub const RESTING: u8 = 2;
    /// Lost its place before it asked for anything.
    pub const GONE: u8 = 3;
}

/// One connection's place.
pub(super) struct Seat {
    doing: AtomicU8,
    /// Requests that are being answered; of HTTP/2 there may be several.
    answers: AtomicUsize,
    /// When it last began to rest: the lowest has rested for longest.
    resting_since: AtomicU64,
    asked_to_go: CancellationToken,
}

/// Gives the place back when it is dropped.
pub(super) struct Seated {
    crowd: Crowd,
    number: u64,
    peer: Option<IpAddr>,
    pub seat: Arc<Seat>,
    _place: OwnedSemaphorePermit,
}

impl Crowd {
    pub fn new(most: usize, per_peer: usize) -> Self {
        let (turn, rested, taken) = (AtomicU64::new(0), Notify::new(), Mutex::default());
        Self(Arc::new(Places { free: Arc::new(Semaphore::new(most)), per_peer, turn, rested, taken }))
    }

    /// A place for a new connection from `peer`, which may be another's until now. None when this peer has enough of them.
    /// A proxy may have everybody behind it, as loopback may.
    pub async fn seat(&self, peer: SocketAddr, is_proxy: bool) -> Option<Seated> {
        let peer = counted(peer.ip()).filter(|_| !is_proxy);
        if peer.is_some_and(|peer| self.taken().peers.get(&peer).is_some_and(|places| *places >= self.0.per_peer)) {
            return None;
        }
        let place = self.place().await?;
        let number = self.next_turn();
        let seat = Arc::new(Seat {
            doing: AtomicU8::new(doing::NOTHING_YET),
            answers: AtomicUsize::new(0),
            resting_since: AtomicU64::new(0),
            asked_to_go: CancellationToken::new(),
        });
        let mut taken = self.taken();
        if let Some(peer) = peer {
            *taken.peers.entry(peer).or_default() += 1;
        }
        taken.seats.insert(number, seat.clone());
        drop(taken);
        Some(Seated { crowd: self.clone(), number, peer, seat, _place: place })
    }

    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.0.free).try_acquire_owned() {
            return Some(place);
        }
        let mut free = pin!(Arc::clone(&self.0.free).acquire_owned());
        loop {
            let somebody_goes = self.send_one_away();
            tokio::select! {
                biased;
                place = free.as_mut() => return place.ok(),
                () = sleep(GOING), if somebody_goes => {}
                () = self.0.rested.notified(), if !somebody_goes => {}
            }
        }
    }

    /// The oldest that never asked for anything, else the one that has rested for longest. False when all are being answered.
    fn send_one_away(&self) -> bool {
        let taken = self.taken();
        let stranger = taken.seats.values().find(|seat| seat.turn(doing::NOTHING_YET, doing::GONE));
        let going = stranger.or_else(|| {
            let mut resting: Vec<_> = taken.seats.values().filter(|seat| seat.doing.load(Ordering::Relaxed) == doing::RESTING).collect();
            resting.sort_unstable_by_key(|seat| seat.resting_since.load(Ordering::Relaxed));
            // What it is asked to do now is to end what it may just have begun, and then to go.
            resting.into_iter().find(|seat| seat.turn(doing::RESTING, doing::BEING_ANSWERED))
        });
        going.inspect(|seat| seat.asked_to_go.cancel()).is_some()
    }

    /// The last answer of `seat` is on its way; until the next header its place is for who needs it.
    fn rests(&self, seat: &Seat) {
        seat.resting_since.store(self.next_turn(), Ordering::Relaxed);
        seat.turn(doing::BEING_ANSWERED, doing::RESTING);
        self.0.rested.notify_one();
    }

    fn next_turn(&self) -> u64 {
        self.0.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a peer is counted as. Loopback may be a proxy with everybody behind it, and is not counted; of IPv6 a whole /64 is one
/// peer, because whoever has one address there has all of them.
pub(super) fn counted(ip: IpAddr) -> Option<IpAddr> {
    match ip.to_canonical() {
        ip if ip.is_loopback() => None,
        IpAddr::V6(ip) => Some(Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into()),
        ip => Some(ip),
    }
}

impl Seat {
    fn turn(&self, from: u8, to: u8) -> bool {
        self.doing.compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// A whole header is here. None when the place was given away in the same moment: nothing may be begun.
    pub fn begin(self: &Arc<Self>, crowd: &Crowd) -> Option<Answering> {
        self.answers.fetch_add(1, Ordering::AcqRel);
        let answering = Answering { crowd: crowd.clone(), seat: Arc::clone(self) };
        let begun =
            self.doing.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| (now != doing::GONE).then_some(doing::BEING_ANSWERED));
        begun.is_ok().then_some(answering)
    }

    /// Returns when this connection has to go: at once if the answer is true, when it has ended what it does if it is false.
    /// One that has asked for nothing for `patience` goes as well.
    pub async fn has_to_go(&self, patience: Duration) -> bool {
        if timeout(patience, self.asked_to_go.cancelled()).await.is_err() && !self.turn(doing::NOTHING_YET, doing::GONE) {
            self.asked_to_go.cancelled().await;
        }
        self.doing.load(Ordering::Acquire) == doing::GONE
    }

    /// Returns when no answer was under way at two looks in a row that lie `patience` apart.
    pub async fn is_idle_for(&self, patience: Duration) {
        let mut was_idle = false;
        loop {
            let is_idle = self.answers.load(Ordering::Acquire) == 0;
            if is_idle && was_idle {
                return;
            }
            was_idle = is_idle;
            sleep(patience).await;
        }
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct Answering {
    crowd: Crowd,
    seat: Arc<Seat>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        if self.seat.answers.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.crowd.rests(&self.seat);
        }
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        let mut taken = self.crowd.taken();
        taken.seats.remove(&self.number);
        if let Some(peer) = self.peer
            && let Some(places) = taken.peers.get_mut(&peer)
        {
            *places -= 1;
            if *places == 0 {
                taken.peers.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt as _;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn peer(text: &str) -> SocketAddr {
        SocketAddr::new(text.parse().expect("an address"), 4711)
    }

    #[tokio::test]
    async fn one_peer_takes_so_many_places_and_loopback_is_nobody_in_particular() {
        let crowd = Crowd::new(100, 2);
        for (one, same, other) in
            [("203.0.113.7", "::ffff:203.0.113.7", "203.0.113.8"), ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1")]
        {
            let first = crowd.seat(peer(one), false).await.expect("a place");
            let _second = crowd.seat(peer(same), false).await.expect("a place");
            assert!(crowd.seat(peer(one), false).await.is_none(), "a third place for {one}");
            assert!(crowd.seat(peer(other), false).await.is_some(), "{other} is somebody else");
            drop(first);
            assert!(crowd.seat(peer(same), false).await.is_some(), "a place was given back");
        }
        let proxy = futures_util::future::join_all((0..50).map(|_| crowd.seat(peer("127.0.0.1"), false))).await;
        assert!(proxy.iter().all(Option::is_some));
        let proxy = futures_util::future::join_all((0..5).map(|_| crowd.seat(peer("203.0.113.9"), true))).await;
        assert!(proxy.iter().all(Option::is_some), "one that is known as a proxy has everybody behind it as well");
    }

    #[tokio::test]
    async fn who_asks_for_nothing_goes_first_then_who_rests_for_longest_and_nobody_who_is_answered() {
        let crowd = Crowd::new(3, 1);
        let here = peer("127.0.0.1");
        let places = [crowd.seat(here, false).await, crowd.seat(here, false).await, crowd.seat(here, false).await]
            .map(|place| place.expect("a place"));
        let [answered, resting, stranger] = &places;
        let _answer = answered.seat.begin(&crowd).expect("its place is its");
        let [first, second] = [(); 2].map(|()| resting.seat.begin(&crowd).expect("its place is its"));
        drop(first);
        drop(second);
        assert!(crowd.send_one_away());
        assert!(stranger.seat.has_to_go(PATIENCE).now_or_never().expect("asked to go"), "it goes at once");
        assert!(stranger.seat.begin(&crowd).is_none(), "whatever it sends now is not begun");
        assert!(crowd.send_one_away());
        assert!(!resting.seat.has_to_go(PATIENCE).now_or_never().expect("asked to go"), "it may end what it began meanwhile");
        let _again = resting.seat.begin(&crowd).expect("its place is its");
        assert!(!crowd.send_one_away(), "all others are being answered");
        assert!(answered.seat.has_to_go(PATIENCE).now_or_never().is_none());
    }

    #[tokio::test]
    async fn place_of_one_that_is_answered_several_times_at_once_is_kept_until_the_last() {
        let crowd = Crowd::new(1, 1);
        let place = crowd.seat(peer("127.0.0.1"), false).await.expect("a place");
        let answers = [(); 3].map(|()| place.seat.begin(&crowd).expect("its place is its"));
        for answer in answers {
            assert!(!crowd.send_one_away());
            drop(answer);
        }
        assert!(crowd.send_one_away());
    }
}
