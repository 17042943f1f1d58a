/**
 * Mappings on their way between a session and the threads of a data plane.
 *
 * @module
 */
import type {
  IotlbBackend,
  IotlbEntry,
  IotlbQuestion,
} from "../vhost_user/backend.ts";
import type { Carrier } from "./command.ts";

/** The IOTLB of all threads behind `carrier`. */
export class CarrierIotlb implements IotlbBackend {
  readonly #carrier: Carrier;

  /** Speaks to the threads of `carrier`. */
  constructor(carrier: Carrier) {
    this.#carrier = carrier;
  }

  async update(entry: IotlbEntry): Promise<void> {
    await this.#carrier.send({ kind: "updateIotlb", ...entry });
  }

  async invalidate(iova: number, size: number): Promise<void> {
    await this.#carrier.send({ kind: "invalidateIotlb", iova, size });
  }

  async refuse(question: IotlbQuestion): Promise<void> {
    await this.#carrier.send({ kind: "refuseIotlb", ...question });
  }

  onMiss(ask: ((question: IotlbQuestion) => void) | null): void {
    this.#carrier.onMiss = ask;
  }
}
