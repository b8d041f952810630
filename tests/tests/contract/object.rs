//! The object file against the contract: maps by name, kind and size, programs by name.

use aya_obj::Object;
use aya_obj::generated::bpf_map_type::{
    BPF_MAP_TYPE_ARRAY, BPF_MAP_TYPE_HASH, BPF_MAP_TYPE_LPM_TRIE, BPF_MAP_TYPE_LRU_HASH,
    BPF_MAP_TYPE_PERCPU_ARRAY, BPF_MAP_TYPE_RINGBUF,
};
use edge_ebpf::abi::{
    AccountState, BindState, CallKey, CallState, CallerId, EgressOutcome, FlowKey, IngressStage, Listener,
    Member, MessageNote, NoteKey, Outcome, Policy, Ports, PrefixPage, RepeatSet, Settings, SourceKey,
    SourceState, Standing, SystemId, TrunkPolicy, TrunkState, map, program,
};
use edge_ebpf::native::Refusals;
use edge_ebpf::stream::Flow;
use edge_ebpf::stream::sip::{SipFlow, SipRefusals};
use edge_tests::object::object_bytes;

/// The bits of a trie's key, before its data.
const PREFIX_LEN_BYTES: usize = 4;

#[test]
fn every_map_of_the_contract_is_in_the_object_with_its_kind_and_sizes() {
    let object = Object::parse(&object_bytes().unwrap()).unwrap();
    let array = |name, value| (name, BPF_MAP_TYPE_ARRAY, 4, value);
    let trie = |name, value| (name, BPF_MAP_TYPE_LPM_TRIE, PREFIX_LEN_BYTES + size_of::<SourceKey>(), value);
    let contract = [
        array(map::SETTINGS, size_of::<Settings>()),
        array(map::PORTS, size_of::<Ports>()),
        array(map::POLICIES, size_of::<Policy>()),
        array(map::ACCOUNTS, size_of::<AccountState>()),
        array(map::ACCOUNT_NAMES, 64),
        array(map::REPEATS, size_of::<RepeatSet>()),
        array(map::PREFIXES, size_of::<PrefixPage>()),
        trie(map::MEMBERS, size_of::<Member>()),
        trie(map::STANDINGS, size_of::<Standing>()),
        (map::SOURCES, BPF_MAP_TYPE_LRU_HASH, size_of::<SourceKey>(), size_of::<SourceState>()),
        (map::FLOWS, BPF_MAP_TYPE_LRU_HASH, size_of::<FlowKey>(), size_of::<Flow>()),
        (map::SIP_FLOWS, BPF_MAP_TYPE_LRU_HASH, size_of::<FlowKey>(), size_of::<SipFlow>()),
        (map::BINDS, BPF_MAP_TYPE_HASH, size_of::<FlowKey>(), size_of::<BindState>()),
        (map::SYSTEM_IDS, BPF_MAP_TYPE_HASH, size_of::<SystemId>(), size_of::<u32>()),
        (map::REFUSALS, BPF_MAP_TYPE_HASH, size_of::<FlowKey>(), size_of::<Refusals>()),
        (map::SIP_REFUSALS, BPF_MAP_TYPE_LRU_HASH, size_of::<FlowKey>(), size_of::<SipRefusals>()),
        array(map::LISTENERS, size_of::<Listener>()),
        (map::OUTCOMES, BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<[u64; Outcome::SLOTS]>()),
        (map::EGRESS_OUTCOMES, BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<[u64; EgressOutcome::SLOTS]>()),
        (map::CALLS, BPF_MAP_TYPE_HASH, size_of::<CallKey>(), size_of::<CallState>()),
        array(map::TRUNKS, size_of::<TrunkState>()),
        array(map::TRUNK_POLICIES, size_of::<TrunkPolicy>()),
        array(map::TRUNK_NAMES, 128),
        (map::CALLER_IDS, BPF_MAP_TYPE_LPM_TRIE, PREFIX_LEN_BYTES + size_of::<CallerId>(), size_of::<u32>()),
        (map::RECORDS, BPF_MAP_TYPE_RINGBUF, 0, 0),
        (map::RECORDS_LOST, BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<u64>()),
        (map::NOTES, BPF_MAP_TYPE_LRU_HASH, size_of::<NoteKey>(), size_of::<MessageNote>()),
        (map::MESSAGES, BPF_MAP_TYPE_RINGBUF, 0, 0),
        (map::MESSAGES_LOST, BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<u64>()),
        (map::EVENTS, BPF_MAP_TYPE_RINGBUF, 0, 0),
        (map::EVENTS_LOST, BPF_MAP_TYPE_PERCPU_ARRAY, 4, size_of::<u64>()),
    ];
    for (name, kind, key_bytes, value_bytes) in contract {
        let found = object.maps.get(name).unwrap_or_else(|| panic!("the object has no map {name}"));
        assert_eq!(found.map_type(), kind as u32, "kind of {name}");
        assert_eq!(found.key_size() as usize, key_bytes, "key of {name}");
        assert_eq!(found.value_size() as usize, value_bytes, "value of {name}");
    }
    let unnamed: Vec<_> =
        map::PINNED.iter().filter(|name| !contract.iter().any(|row| row.0 == **name)).collect();
    assert!(unnamed.is_empty(), "pinned, but not compared here: {unnamed:?}");
}

#[test]
fn every_program_of_the_contract_is_in_the_object() {
    let object = Object::parse(&object_bytes().unwrap()).unwrap();
    let attached = [program::INGRESS, program::EGRESS, program::SWEEP, program::CORRECT, program::EMPTY];
    for name in attached.into_iter().chain(IngressStage::ALL.iter().map(|stage| stage.name())) {
        assert!(object.programs.contains_key(name), "the object has no program {name}");
    }
}

#[test]
fn each_outcome_has_room_in_its_counter_and_keeps_its_number() {
    assert!(Outcome::ALL.len() <= Outcome::SLOTS);
    for (index, outcome) in Outcome::ALL.iter().enumerate() {
        assert_eq!(Outcome::from_index(index), Some(*outcome));
        assert_eq!(Outcome::from_name(outcome.name()), Some(*outcome));
    }
}
