//! Changes lose no answer.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use callsign::wire::rtype;

use crate::kit::{BLOG, Home, NOWHERE, SHOP, container, network, until};
use crate::support::client::{Query, Reply};

/// Queries a second, and signals with a change.
const RATE: u32 = 2000;
const CHANGES: usize = 200;

#[test]
fn while_a_client_asks_2000_times_a_second_200_signals_with_changes_lose_no_answer() {
    let home = Home::new();
    home.configure(NOWHERE);
    let steady = network(SHOP, "10.89.0.2");
    home.write("shop", &steady);
    let daemon = home.start();
    let is_over = AtomicBool::new(false);
    let (sent, answered) = thread::scope(|scope| {
        let socket = home.client(SHOP).udp_socket().unwrap();
        // Room for the answers of more than a second: on a busy machine the listener is late.
        socket2::SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        let receiver = socket.try_clone().unwrap();
        let is_over = &is_over;
        let sender = scope.spawn(move || {
            let (start, mut sent) = (Instant::now(), 0_u32);
            while !is_over.load(Ordering::Relaxed) {
                // What is due by now: that of a pause, too.
                while sent < (start.elapsed().as_secs_f64() * f64::from(RATE)) as u32 {
                    socket.send(&Query::new("web", rtype::A).id(sent as u16).bytes()).unwrap();
                    sent += 1;
                }
                thread::sleep(Duration::from_micros(300));
            }
            sent
        });
        let listener = scope.spawn(move || {
            let (mut packet, mut answered) = ([0; 1500], 0_u32);
            // None for a second: all have come that will.
            receiver.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            while let Ok(len) = receiver.recv(&mut packet) {
                let reply = Reply::new(packet[..len].to_vec());
                assert_eq!(reply.addresses(), ["10.89.0.2".parse::<IpAddr>().unwrap()], "{reply:?}");
                assert_eq!(
                    reply.message.metadata.id, answered as u16,
                    "in the order of the questions: none is missing"
                );
                answered += 1;
            }
            answered
        });
        for change in 0..CHANGES {
            let id = format!("id{change}");
            match change % 4 {
                0 => home.append("shop", &container(&id, "10.89.1.1", &id)),
                1 => home.write("blog", &network(BLOG, "10.90.0.2")),
                // As netavark deletes: in place.
                2 => home.write("shop", &steady),
                _ => home.remove("blog"),
            }
            daemon.hang_up();
            match change % 4 {
                0 => until("a container came", || !home.addresses(SHOP, &id).is_empty()),
                1 => until("a network came", || home.client(BLOG).connect().is_ok()),
                2 => until("a container went", || home.addresses(SHOP, &format!("id{}", change - 2)).is_empty()),
                _ => until("a network went", || home.client(BLOG).connect().is_err()),
            }
        }
        is_over.store(true, Ordering::Relaxed);
        (sender.join().unwrap(), listener.join().unwrap())
    });
    println!("{sent} questions, {answered} answers, {CHANGES} changes");
    assert_eq!(sent, answered);
    assert!(sent > RATE, "asked for longer than a second");
}
