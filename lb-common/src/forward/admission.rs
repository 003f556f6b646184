//! May this source have the virtual server? By lists of networks, for every packet; by a rate, for new connections.

use crate::admission::{self, Allowance, Listing, Rate};
use crate::conn::{Key, Key4, Key6};
use crate::layout::Service;
use crate::maps::SOURCES_LINES;
use crate::tables::Tables;
use crate::verdict::{Reason, Verdict};

use super::sticky::{self, Sticky};

/// Drops the packet of a source that is kept out.
#[inline(always)]
pub(super) fn listed_in<K: Sticky, T: Tables>(tables: &T, service: Service, flow: K) -> Result<(), Verdict> {
    if service.flags & Service::LISTED != 0 {
        let rest = sticky::rest(service.schedule, false, K::IS_IPV6);
        if tables.listed(flow.client(), rest) == Listing::Deny as u32 {
            return Err(Verdict::Drop(Reason::DeniedSource));
        }
    }
    Ok(())
}

/// Drops the packet that starts a connection more than its source may open.
#[inline(always)]
pub(super) fn may_connect<K: Sticky, T: Tables>(
    tables: &T,
    service: Service,
    flow: K,
) -> Result<(), Verdict> {
    let rest = sticky::rest(service.schedule, true, K::IS_IPV6);
    let allowance = tables.connects(flow.client(), rest);
    if allowance == Allowance::Used as u32 {
        return Err(Verdict::Drop(Reason::RateLimited));
    }
    if allowance == Allowance::Forgetting as u32 {
        tables.count(Reason::SourceForgotten);
    }
    Ok(())
}

/// What the longest network with the client's address says: a [`Listing`] as a number; [`Listing::Allow`] if there is
/// none. `client` is its address, `rest` what [`sticky::rest`] gave.
#[inline(always)]
pub fn listed<T: Tables>(tables: &T, client: [u64; 2], rest: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    let schedule = rest as u16;
    let found = if rest & sticky::IPV6 == 0 {
        tables.network4(schedule, Key4::of(client).parts().0)
    } else {
        tables.network6(schedule, Key6::of(client).parts().0)
    };
    match found {
        Some(value) => value & 0xff,
        None => Listing::Allow as u32,
    }
}

/// Takes a connection from the client's allowance: an [`Allowance`] as a number. As [`listed`].
#[inline(always)]
pub fn connects<T: Tables>(tables: &T, client: [u64; 2], rest: u64) -> u32 {
    let Some((hash, rate)) = source(tables, client, rest) else { return Allowance::Given as u32 };
    let (Some(settings), Some(sources)) =
        (tables.settings(), tables.sources(admission::line(hash, SOURCES_LINES)))
    else {
        return Allowance::Given as u32;
    };
    admission::take(sources, hash, rate, admission::units(tables.nanoseconds(settings))) as u32
}

/// How many connections the client may open now, and the most; `None` for any number. As [`listed`].
pub fn left<T: Tables>(tables: &T, client: [u64; 2], rest: u64) -> Option<(u32, u32)> {
    let (hash, rate) = source(tables, client, rest)?;
    let sources = tables.sources(admission::line(hash, SOURCES_LINES))?;
    let now = admission::units(tables.nanoseconds(tables.settings()?));
    Some((admission::left(sources, hash, rate, now), rate.burst))
}

/// The hash of the client as the schedule's rate knows it; `None` if there is no rate.
#[inline(always)]
fn source<T: Tables>(tables: &T, client: [u64; 2], rest: u64) -> Option<(u64, Rate)> {
    #[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
    let schedule = rest as u16;
    let rate = Rate::from_word(tables.schedule(schedule)?.rate.load());
    if rate.interval == 0 {
        return None;
    }
    let seed = tables.settings()?.seed.load();
    let hash = if rest & sticky::IPV6 == 0 {
        Key4::of(client).template(rate.prefix, schedule).hash(seed)
    } else {
        Key6::of(client).template(rate.prefix, schedule).hash(seed)
    };
    Some((hash, rate))
}
