//! SMPP PDUs (SMPP 3.4) as bytes on a connection.

/// Command identifiers (SMPP 3.4, 5.1.2.1).
pub mod command {
    /// `bind_receiver`.
    pub const BIND_RECEIVER: u32 = 0x01;
    /// `bind_transmitter`.
    pub const BIND_TRANSMITTER: u32 = 0x02;
    /// `query_sm`.
    pub const QUERY_SM: u32 = 0x03;
    /// `submit_sm`.
    pub const SUBMIT_SM: u32 = 0x04;
    /// `unbind`.
    pub const UNBIND: u32 = 0x06;
    /// `bind_transceiver`.
    pub const BIND_TRANSCEIVER: u32 = 0x09;
    /// `enquire_link`.
    pub const ENQUIRE_LINK: u32 = 0x15;
    /// `submit_multi`.
    pub const SUBMIT_MULTI: u32 = 0x21;
    /// `data_sm`.
    pub const DATA_SM: u32 = 0x103;
    /// `deliver_sm`.
    pub const DELIVER_SM: u32 = 5;
    /// `deliver_sm_resp`.
    pub const DELIVER_SM_RESP: u32 = 0x8000_0005;
}

/// A PDU: header of 16 bytes and body.
#[must_use]
pub fn pdu(command: u32, status: u32, sequence: u32, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(16 + body.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(16 + body.len());
    for word in [length, command, status, sequence] {
        bytes.extend(word.to_be_bytes());
    }
    bytes.extend(body);
    bytes
}

/// `submit_sm` (4.4.1) to a number in international format.
#[must_use]
pub fn submit_sm(sequence: u32, destination: &str, text: &[u8]) -> Vec<u8> {
    let mut body = b"\0".to_vec(); // service_type
    body.extend([5, 0]); // source: alphanumeric
    body.extend(b"acme\0");
    body.extend([1, 1]); // destination: international, E.164
    body.extend(destination.as_bytes());
    body.push(0);
    body.extend([0, 0, 0]); // esm_class, protocol_id, priority_flag
    body.extend([0, 0]); // schedule_delivery_time, validity_period
    body.extend([0, 0, 0, 0]); // registered_delivery, replace_if_present, data_coding, sm_default_msg_id
    body.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    body.extend(text);
    pdu(command::SUBMIT_SM, 0, sequence, &body)
}

/// `submit_multi` (4.5.1) to as many destinations, all the same number.
#[must_use]
pub fn submit_multi(sequence: u32, destinations: u64, text: &[u8]) -> Vec<u8> {
    let mut body = b"\0".to_vec(); // service_type
    body.extend([5, 0]); // source: alphanumeric
    body.extend(b"acme\0");
    body.push(u8::try_from(destinations).unwrap_or(u8::MAX));
    for _ in 0..destinations {
        body.extend([1, 1, 1]); // dest_flag: an address, international, E.164
        body.extend(b"4416329601\0");
    }
    body.extend([0; 9]); // esm_class to sm_default_msg_id
    body.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    body.extend(text);
    pdu(command::SUBMIT_MULTI, 0, sequence, &body)
}

/// `deliver_sm` (4.6.1) from a number in international format. `esm_class`: 4 in a delivery receipt (5.2.12).
#[must_use]
pub fn deliver_sm(sequence: u32, source: &str, esm_class: u8, text: &[u8]) -> Vec<u8> {
    let mut body = b"\0".to_vec(); // service_type
    body.extend([1, 1]); // source: international, E.164
    body.extend(source.as_bytes());
    body.extend([0, 5, 0]); // destination: alphanumeric
    body.extend(b"acme\0");
    body.extend([esm_class, 0, 0, 0, 0]); // to validity_period
    body.extend([0, 0, 0, 0]); // registered_delivery to sm_default_msg_id
    body.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    body.extend(text);
    pdu(command::DELIVER_SM, 0, sequence, &body)
}

/// `data_sm` (4.7.1) of the server, with the parameters `receipted_message_id` and `message_state` (5.3.2.12, 5.3.2.35).
/// `esm_class`: as in [`deliver_sm`].
#[must_use]
pub fn data_sm_receipt(sequence: u32, source: &str, esm_class: u8, state: u8) -> Vec<u8> {
    let mut body = b"\0".to_vec(); // service_type
    body.extend([1, 1]); // source: international, E.164
    body.extend(source.as_bytes());
    body.extend([0, 5, 0]); // destination: alphanumeric
    body.extend(b"acme\0");
    body.extend([esm_class, 0, 0]); // registered_delivery, data_coding
    body.extend([0, 0x1e, 0, 5]);
    body.extend(b"0123\0");
    body.extend([4, 0x27, 0, 1, state]);
    pdu(command::DATA_SM, 0, sequence, &body)
}

/// `bind_*` (4.1).
#[must_use]
pub fn bind(command: u32, sequence: u32, system_id: &str) -> Vec<u8> {
    let mut body = system_id.as_bytes().to_vec();
    body.push(0);
    body.extend(b"secret\0\0");
    body.extend([0x34, 0, 0, 0]); // interface_version, addr_ton, addr_npi, address_range
    pdu(command, 0, sequence, &body)
}

/// `bind_*_resp` (4.1), to the bind of that command.
#[must_use]
pub fn bind_response(command: u32, status: u32, sequence: u32) -> Vec<u8> {
    pdu(command | 0x8000_0000, status, sequence, b"server\0")
}

/// `enquire_link` (4.11).
#[must_use]
pub fn enquire_link(sequence: u32) -> Vec<u8> {
    pdu(command::ENQUIRE_LINK, 0, sequence, &[])
}

/// As many `submit_sm` one after the other, sequence numbers from 1.
#[must_use]
pub fn submits(count: u32, destination: &str) -> Vec<u8> {
    (1..=count).flat_map(|sequence| submit_sm(sequence, destination, b"")).collect()
}

/// As many `enquire_link` one after the other, sequence numbers from 1.
#[must_use]
pub fn enquire_links(count: u32) -> Vec<u8> {
    (1..=count).flat_map(enquire_link).collect()
}

/// The answers to them (4.11.2).
#[must_use]
pub fn enquire_link_responses(count: u32) -> Vec<u8> {
    (1..=count).flat_map(|sequence| pdu(command::ENQUIRE_LINK | 0x8000_0000, 0, sequence, &[])).collect()
}
