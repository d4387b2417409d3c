//! The cases, by what they are about. Each opens its instances in a space of its own, and says by a panic that a promise
//! is not kept. The list in `lib.rs` makes tests of them.

// `absence`, `faults` need a broker that can be stopped; `history` and `positions` try only what is
// declared.
mod absence;
mod close;
mod delivery;
mod exact;
mod faults;
mod history;
mod interest;
mod open;
mod positions;
mod slow;

pub(crate) use self::{
    absence::{interest_without_a_broker_is_kept, publishing_without_a_broker_is_answered},
    close::{close_ends_everything, close_works_twice_at_once, close_works_while_blocked},
    delivery::{
        a_batch_is_answered_item_by_item, every_instance_hears_each_message_once,
        order_is_as_declared, outside_messages_arrive_as_they_are, spaces_never_hear_each_other,
    },
    exact::{
        hostile_names_and_payloads_arrive_exactly, names_are_limited_as_declared,
        payloads_are_limited_as_declared,
    },
    faults::{a_kill_is_survived, a_restart_is_survived},
    history::{history_is_as_declared, trimmed_history_is_said},
    interest::{interest_changes_lose_nothing, repeated_interest_is_as_once},
    open::{an_absent_broker_is_said_in_time, wrong_addresses_are_refused},
    positions::{positions_are_as_declared, progress_is_as_declared},
    slow::a_slow_instance_loses_nothing_in_silence,
};
