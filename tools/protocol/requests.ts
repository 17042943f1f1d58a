/**
 * The requests of both ends.
 *
 * @module
 */
import type {
  VHOST_USER,
  VHOST_USER_BACKEND,
} from "../../src/vhost_user/protocol.ts";
import { type Row, row } from "./row.ts";

const REFUSED = "… is refused, and the session lives on";
const HEARD = "… of a back-end reaches its handler";
const POSTCOPY = "[measured](decisions/0014-no-postcopy.md)";

/** By the name of a front-end's request. */
export const REQUESTS: Record<keyof typeof VHOST_USER, Row> = {
  GET_FEATURES: row(
    "",
    "yes yes yes",
    "the offered features are those that are served",
  ),
  SET_FEATURES: row(
    "",
    "yes yes yes",
    "[C54]",
    "SET_FEATURES on running rings",
    "SET_FEATURES with bit 30",
  ),
  SET_OWNER: row("", "yes yes yes", "SET_OWNER twice is tolerated"),
  RESET_OWNER: row(
    "",
    "yes yes resets",
    "RESET_OWNER disables the rings and keeps the rest",
  ),
  SET_MEM_TABLE: row(
    "",
    "yes yes yes",
    "[C50]",
    "[H16]",
    "the memory table is replaced while requests are under way",
  ),
  SET_LOG_BASE: row(
    "",
    "yes yes yes",
    "the log is on while there is one and LOG_ALL is",
    "[H14]",
    "the log has the pages that are written",
  ),
  SET_LOG_FD: row("", "yes no closed", "the log's eventfd goes along"),
  SET_VRING_NUM: row("", "yes yes yes", "[C01]", "[H07]"),
  SET_VRING_ADDR: row("", "yes yes yes", "[C51]", "[H08]"),
  SET_VRING_BASE: row(
    "",
    "split split yes",
    "a base that no split ring has is refused",
    "a refused base leaves the one before",
    "[C84]",
  ),
  GET_VRING_BASE: row("", "split split yes", "[C56]", "[C84]"),
  SET_VRING_KICK: row("", "yes yes yes", "[C52]", "[H11]", "[H15]"),
  SET_VRING_CALL: row(
    "",
    "yes yes yes",
    "[C52]",
    "[H11]",
    "a new call is with the data plane",
  ),
  SET_VRING_ERR: row(
    "",
    "kept kept closed",
    "[C52]",
    "[H11]",
    "an err that is a full pipe",
  ),
  GET_PROTOCOL_FEATURES: row(
    "",
    "yes yes yes",
    "the offered features are those that are served",
  ),
  SET_PROTOCOL_FEATURES: row(
    "",
    "yes yes yes",
    "[C55]",
    "protocol features that are not offered are refused",
  ),
  GET_QUEUE_NUM: row(
    "",
    "yes yes yes",
    "a request with a reply of its own gets only that one",
  ),
  SET_VRING_ENABLE: row(
    "",
    "yes yes yes",
    "ENABLE twice, and by what is no 0 or 1",
    "ENABLE is served for each ring without MQ",
    "[C40]",
  ),
  SEND_RARP: row(
    "net",
    "no no yes",
    "SEND_RARP reaches the device with its address",
    "switch: SEND_RARP tells the others",
  ),
  NET_SET_MTU: row(
    "net",
    "no no yes",
    "NET_SET_MTU reaches the device, in its limits",
  ),
  SET_BACKEND_REQ_FD: row("", "yes yes yes", "[H20]"),
  IOTLB_MSG: row(
    "`--iommu`",
    "no no no",
    "a disk behind an IOMMU is written and read",
    "IOTLB messages that make no sense are refused",
    "IOTLB_MSG is refused where the IOMMU was not negotiated",
  ),
  SET_VRING_ENDIAN: row(
    "legacy guests of another byte order",
    "no no no",
    "SET_VRING_ENDIAN is refused for either order",
  ),
  GET_CONFIG: row("", "yes yes yes", "[C53]", "[H13]"),
  SET_CONFIG: row("", "yes yes yes", "[C53]", "[H13]"),
  CREATE_CRYPTO_SESSION: row("no crypto device", "no no no", REFUSED),
  CLOSE_CRYPTO_SESSION: row("no crypto device", "no no no", REFUSED),
  POSTCOPY_ADVISE: row(POSTCOPY, "yes feature no", REFUSED),
  POSTCOPY_LISTEN: row(POSTCOPY, "yes feature no", REFUSED),
  POSTCOPY_END: row(POSTCOPY, "yes feature no", REFUSED),
  GET_INFLIGHT_FD: row(
    "block, rng",
    "yes refuses yes",
    "[C58]",
    "[H12]",
    "times SIGKILL in mid-I/O",
  ),
  SET_INFLIGHT_FD: row(
    "block, rng",
    "yes refuses yes",
    "[C58]",
    "[H12]",
    "times SIGKILL in mid-I/O",
  ),
  GPU_SET_SOCKET: row("no graphics card", "device device no", REFUSED),
  RESET_DEVICE: row("", "no yes no", "[C60]"),
  VRING_KICK: row(
    "`--in-band`",
    "yes no no",
    "VRING_KICK starts a ring",
    "VRING_KICK of no vring",
    "a disk with in-band notifications",
    "a guest writes a disk and reads it back",
  ),
  GET_MAX_MEM_SLOTS: row(
    "",
    "yes yes yes",
    "there are 509 slots and not one more",
  ),
  ADD_MEM_REG: row(
    "",
    "yes yes yes",
    "[C59]",
    "slots come and go while requests are under way",
  ),
  REM_MEM_REG: row(
    "",
    "yes yes yes",
    "[C59]",
    "a region in use goes once its requests are done",
  ),
  SET_STATUS: row("", "no no yes", "the status is kept, and 0 is a reset"),
  GET_STATUS: row("", "no no yes", "the status is kept, and 0 is a reset"),
  GET_SHARED_OBJECT: row("no dma-bufs", "yes device no", REFUSED),
  SET_DEVICE_STATE_FD: row("block, net", "no device no", "[C57]", "[H19]"),
  CHECK_DEVICE_STATE: row(
    "block, net",
    "no device no",
    "a state takes effect when it is checked",
    "a check without a transfer is refused",
  ),
  GET_SHMEM_CONFIG: row("no shared memory regions", "no device no", REFUSED),
  GET_VRING_BASE_SKIP_DRAIN: row(
    "in no released specification",
    "no no no",
    "requests that are not served are refused",
  ),
};

/** By the name of a back-end's request: those that are sent. */
export const SENT: readonly (keyof typeof VHOST_USER_BACKEND)[] = [
  "IOTLB_MSG",
  "CONFIG_CHANGE_MSG",
  "VRING_CALL",
  "VRING_ERR",
];

/** By the name of a back-end's request. */
export const BACKEND_REQUESTS: Record<keyof typeof VHOST_USER_BACKEND, Row> = {
  IOTLB_MSG: row(
    "`--iommu`",
    "no no no",
    "after an invalidation what was mapped is asked for again",
    "a front-end that never reads what is asked",
  ),
  CONFIG_CHANGE_MSG: row(
    "",
    "yes no yes",
    "a config change is told to the front-end",
    "a disk that is resized is larger for its driver at once",
    "[H20]",
  ),
  VRING_HOST_NOTIFIER_MSG: row(
    "[no page of hardware to kick](decisions/0017-no-host-notifier.md)",
    "yes no no",
    HEARD,
  ),
  VRING_CALL: row(
    "`--in-band`",
    "yes no no",
    "VRING_CALL and VRING_ERR are told as they come",
    "calls while the last VRING_CALL is unanswered become one more",
  ),
  VRING_ERR: row(
    "`--in-band`",
    "no no no",
    "VRING_CALL and VRING_ERR are told as they come",
    "VRING_ERR tells that a ring broke",
  ),
  SHARED_OBJECT_ADD: row("no dma-bufs", "yes yes no", HEARD),
  SHARED_OBJECT_REMOVE: row("no dma-bufs", "yes yes no", HEARD),
  SHARED_OBJECT_LOOKUP: row("no dma-bufs", "yes yes no", HEARD),
  SHMEM_MAP: row("no shared memory regions", "no yes no", HEARD),
  SHMEM_UNMAP: row("no shared memory regions", "no yes no", HEARD),
};
