//! What became of connections and requests.

use core::cell::Cell;

macro_rules! counters {
    ($($counter:ident $name:ident $document:literal,)*) => {
        /// What became of connections and requests. The numbers only grow, and wrap at 2⁶⁴.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $(#[doc = $document] pub $name: u64,)*
        }

        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Counter {
            $($counter,)*
        }

        pub(super) const COUNTERS: usize = [$(Counter::$counter,)*].len();

        impl Counters {
            pub(super) fn new(cells: &[Cell<u64>; COUNTERS]) -> Self {
                Self {
                    $($name: cells[Counter::$counter as usize].get(),)*
                }
            }

            /// What two servers counted together.
            pub fn plus(&self, other: &Self) -> Self {
                Self {
                    $($name: self.$name.wrapping_add(other.$name),)*
                }
            }

            /// Each with its name, for whoever shows them.
            pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    Connections connections "Connections accepted.",
    Requests requests "Requests that were given to the application.",
    Continued continued "Requests that were answered 100 first.",
    Success responses_2xx "Responses with success.",
    Redirection responses_3xx "Redirections, and 304.",
    ClientError responses_4xx "Responses that say that the client is at fault; rejections among them.",
    ServerError responses_5xx "Responses that say that the server is at fault; rejections among them.",
    RejectedHead rejected_head "Requests with a wrong head.",
    RejectedFraming rejected_framing "Requests whose body's length is in doubt: attempts at smuggling among them.",
    RejectedHost rejected_host "Requests without a Host, or with a wrong one, or with several.",
    RejectedTarget rejected_target "Requests whose target has not the form for the method.",
    RejectedTunnel rejected_tunnel "Requests with CONNECT.",
    RejectedExpectation rejected_expectation "Requests with another Expect than 100-continue.",
    RejectedBody rejected_body "Requests whose body is wrong, or too large.",
    RejectedTimeout rejected_timeout "Requests whose head or body did not come in time.",
    EndedByClient ended_by_client "Connections that the client ended, between two requests.",
    EndedIdle ended_idle "Connections that nothing came on for too long.",
    EndedTooSlow ended_too_slow "Connections whose client sent, or took, too little for too long.",
    EndedTruncated ended_truncated "Connections that ended within a request.",
    EndedRejected ended_rejected "Connections that ended because a request was rejected.",
    EndedComplete ended_complete "Connections that ended behind a response, as one of the two sides wished.",
    EndedBroken ended_broken "Connections that ended within a response.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_its_own() {
        let cells = [const { Cell::new(0) }; COUNTERS];
        for (number, cell) in cells.iter().enumerate() {
            cell.set(number as u64);
        }
        let counters = Counters::new(&cells);
        assert!(
            counters
                .iter()
                .map(|(_, value)| value)
                .eq(0..COUNTERS as u64)
        );
        assert_eq!(counters.ended_broken, COUNTERS as u64 - 1);
        let twice = counters.plus(&counters);
        assert!(
            twice
                .iter()
                .map(|(_, value)| value / 2)
                .eq(0..COUNTERS as u64)
        );
    }
}
