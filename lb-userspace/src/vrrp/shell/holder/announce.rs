//! Gratuitous ARP and unsolicited neighbour advertisements, sent with a pace.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::{Holder, Shared};
use crate::config::vrrp::VrrpInstance;
use crate::vrrp::garp;

impl Holder {
    /// One burst: `repeat` frames for each address, with the pace between them.
    pub(super) async fn announce(&mut self, instance: &Arc<VrrpInstance>, repeat: u32) {
        let pace = self.shared.borrow().pace;
        let burst = burst(Rc::clone(&self.shared), Arc::clone(instance), repeat, pace);
        if pace.is_zero() {
            burst.await;
        } else {
            // The next task does not wait; the burst ends when the addresses go.
            tokio::task::spawn_local(burst);
        }
    }
}

async fn burst(shared: Rc<RefCell<Shared>>, instance: Arc<VrrpInstance>, repeat: u32, pace: Duration) {
    for _ in 0..repeat {
        for own in instance.addresses() {
            {
                let shared = shared.borrow();
                if !shared.held.contains_key(&instance.name) {
                    return;
                }
                let interface = shared.interfaces.get(&own.interface);
                // A device without Ethernet addresses has nobody to tell.
                if let Some((index, mac)) = interface.and_then(|known| Some((known.index, known.mac?))) {
                    let frame = garp::frame(own.address, mac, shared.is_router);
                    if let Err(error) = shared.frames.send(index, &frame) {
                        tracing::warn!(
                            "{}: {} is not announced on {}: {error}",
                            instance.name,
                            own.address,
                            own.interface
                        );
                    }
                }
            }
            if !pace.is_zero() {
                sleep(pace).await;
            }
        }
    }
}
