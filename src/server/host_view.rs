//! Where the host view is answered (answers.md V6).

use std::sync::Arc;

use crate::responder::{HOST_VIEW, HostView};

use super::change::taken;
use super::shared::Key;
use super::{Server, ServerError};

impl Server {
    /// Answers the host view at its listen addresses, instead of the one before; `None` ends it. It sees the networks of the
    /// server's [table](Server::table) before those of its own tables. Sockets whose addresses stay are kept.
    ///
    /// ```
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
    /// use callsign::responder::HostView;
    /// use callsign::server::Server;
    /// use callsign::table::{Endpoint, Network};
    ///
    /// let server = Server::builder().port(0).start().await?;
    /// let shop = server.add_network(Network::builder("shop").listen("127.0.0.1").build()?).await?;
    /// shop.attach(Endpoint::builder("3f2a9c").address("172.18.0.2").name("db").build()?)?;
    ///
    /// server.set_host_view(Some(HostView::builder().listen("127.0.0.55").build()?)).await?;
    /// // Who asks 127.0.0.55 on this host finds db.shop.containers.internal.
    /// server.shutdown().await;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`ServerError::AddressTaken`] if a network listens at one of the addresses; nothing is changed then.
    /// [`ServerError::Stopped`].
    pub async fn set_host_view(&self, view: Option<HostView>) -> Result<(), ServerError> {
        let _turn = self.changing.lock().await;
        self.check_running()?;
        let view = view.map(|view| Arc::new(view.before(&self.shared.table)));
        let listen = self.with_ports(&view.as_ref().map(|view| view.listen()).unwrap_or_default());
        let mut unused = Vec::new();
        {
            let slots = self.shared.slots();
            for address in &listen {
                if let Some(slot) = slots.get(&Key::of(HOST_VIEW, address)).filter(|slot| !slot.is_host_view()) {
                    return Err(taken(HOST_VIEW, address, slot.network().name()));
                }
            }
            let is_wanted = |key: &Key| listen.iter().any(|address| *key == Key::of(HOST_VIEW, address));
            let present = slots.iter().filter(|(_, slot)| slot.is_host_view());
            unused.extend(present.map(|(key, _)| key.clone()).filter(|key| !is_wanted(key)));
        }
        // First the old sockets are closed: one of them may be in the way of a new one.
        self.shared.close(unused).await;
        if let Some(view) = &view {
            self.shared.host.forget();
            for address in listen {
                let present = self.shared.slots().get(&Key::of(HOST_VIEW, &address)).cloned();
                match present {
                    Some(slot) => slot.serve_instead(view),
                    None => _ = self.open(HOST_VIEW, view, address, None),
                }
            }
            self.shared.note_own_addresses();
        }
        *super::lock(&self.host_view) = view;
        Ok(())
    }

    /// The host view, if one is answered.
    pub fn host_view(&self) -> Option<Arc<HostView>> {
        super::lock(&self.host_view).clone()
    }
}
