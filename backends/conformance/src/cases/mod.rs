//! The cases, by what they are about.

mod close;
mod delivery;
mod exact;
mod faults;
mod history;
mod interest;
mod open;

pub(crate) use self::{
    close::{close_ends_everything, close_works_while_blocked},
    delivery::{
        a_batch_is_answered_item_by_item, every_instance_hears_each_message_once,
        order_is_as_declared, outside_messages_arrive_as_they_are, spaces_never_hear_each_other,
    },
    exact::{hostile_names_and_payloads_arrive_exactly, limits_are_as_declared},
    faults::{a_kill_is_survived, a_restart_is_survived, publishing_without_a_broker_is_answered},
    history::{history_is_as_declared, positions_are_as_declared, trimmed_history_is_said},
    interest::interest_changes_lose_nothing,
    open::{an_absent_broker_is_said_in_time, wrong_addresses_are_refused},
};
