import type { Vcpu } from '../vcpu/vcpu.ts'

const STEAL = 0
const VERSION = 8
const PREEMPTED = 16
const AREA_BYTES = 64
const AREA_MASK = 0x3fn

/** Address of the guest's steal-time area; -1 if it is off. */
function areaOf(vcpu: Vcpu): number {
  const { stealTime } = vcpu.msrs
  return stealTime & 1n ? Number(stealTime & ~AREA_MASK) : -1
}

/** After the vCPU was loaded: adds the time its thread waited for a processor. KAPI-98. */
export function updateStealTime(vcpu: Vcpu): void {
  const gpa = areaOf(vcpu)
  const task = vcpu.runner
  if (gpa < 0 || task === null) return
  const { memory } = vcpu.vm
  const area = new Uint8Array(AREA_BYTES)
  if (!memory.read(gpa, area)) return
  const view = new DataView(area.buffer)
  view.setUint8(PREEMPTED, 0)
  const version = (view.getUint32(VERSION, true) + 1) | 1
  view.setUint32(VERSION, version, true)
  if (!memory.write(gpa, area)) return
  const delta = Math.max(0, task.runDelay - vcpu.msrs.lastRunDelay)
  vcpu.msrs.lastRunDelay = task.runDelay
  view.setBigUint64(STEAL, view.getBigUint64(STEAL, true) + BigInt(Math.floor(delta)), true)
  view.setUint32(VERSION, version + 1, true)
  memory.write(gpa, area)
}

/** The thread is about to lose its processor. */
export function notePreempted(vcpu: Vcpu): void {
  const gpa = areaOf(vcpu)
  if (gpa >= 0) vcpu.vm.memory.write(gpa + PREEMPTED, Uint8Array.of(1))
}
