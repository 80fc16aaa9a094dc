import { initXstate } from './entry/host-control.ts'
import { disownRegisters } from './fpu/register-owner.ts'
import type { PinnedProcessor } from './processor.ts'
import { initDetection } from './splitlock/boot.ts'

/** What a processor goes through that comes up, at boot or after it was offline: nobody's state is in its registers (native_kick_ap()). */
export function startProcessor(cpu: PinnedProcessor): void {
  disownRegisters(cpu)
  initXstate(cpu)
  initDetection(cpu)
}
