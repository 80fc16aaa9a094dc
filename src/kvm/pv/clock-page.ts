import { encode } from '../abi/struct-layout.ts'
import { pvclock_vcpu_time_info } from '../abi/structs.ts'
import type { Vcpu } from '../vcpu/vcpu.ts'
import type { Vm } from '../vm.ts'

const PVCLOCK_TSC_STABLE_BIT = 1
const PVCLOCK_GUEST_STOPPED = 2

/**
 * mul and shift with which a guest turns TSC ticks into ns: ns = ((ticks << shift) * mul) >> 32, mul in [2^31, 2^32).
 * Linux 6.12 kvm_get_time_scale().
 */
export function tscToNs(tscKhz: number): { mul: number; shift: number } {
  let shift = 0
  let ticksPerSecond = tscKhz * 1000
  while (ticksPerSecond > 2e9) {
    ticksPerSecond /= 2
    shift--
  }
  while (ticksPerSecond <= 1e9) {
    ticksPerSecond *= 2
    shift++
  }
  return { mul: Math.floor((1e9 * 2 ** 32) / ticksPerSecond), shift }
}

/** Writes the kvmclock page of a vCPU: version odd, fields, version even. KAPI-96. */
export function updateClockPage(vcpu: Vcpu): void {
  const { msrs, vm } = vcpu
  if ((msrs.systemTime & 1n) === 0n || vcpu.tscKhz === 0) return
  const gpa = Number(msrs.systemTime & ~1n)
  const page = new Uint8Array(pvclock_vcpu_time_info.size)
  const view = new DataView(page.buffer)
  if (msrs.clockVersion === 0 && vm.memory.read(gpa, page)) msrs.clockVersion = view.getUint32(0, true) & ~1
  const version = msrs.clockVersion + 2
  const { mul, shift } = tscToNs(vcpu.tscKhz)
  encode(pvclock_vcpu_time_info, { version: version - 1 }, view)
  if (!vm.memory.write(gpa, page.subarray(0, 4))) return
  const flags = PVCLOCK_TSC_STABLE_BIT | (msrs.guestStopped ? PVCLOCK_GUEST_STOPPED : 0)
  encode(
    pvclock_vcpu_time_info,
    {
      version: version - 1,
      tsc_timestamp: vm.guestTsc(vcpu),
      system_time: BigInt(vm.clock.now()),
      tsc_to_system_mul: mul,
      tsc_shift: shift,
      flags,
    },
    view,
  )
  vm.memory.write(gpa, page)
  encode(pvclock_vcpu_time_info, { version }, view)
  vm.memory.write(gpa, page.subarray(0, 4))
  msrs.clockVersion = version
  msrs.guestStopped = false
}

/** WALL_CLOCK: version, seconds and nanoseconds of the moment when the VM's clock was 0. KAPI-97. */
export function writeWallClock(vm: Vm, msr: bigint): void {
  if (msr === 0n) return
  const gpa = Number(msr)
  const record = new Uint8Array(12)
  const view = new DataView(record.buffer)
  const head = new Uint8Array(4)
  if (!vm.memory.read(gpa, head)) return
  const version = (new DataView(head.buffer).getUint32(0, true) | 1) + 1
  const boot = vm.clock.wallClockOfZero()
  view.setUint32(0, version, true)
  view.setUint32(4, Math.floor(boot / 1e9), true)
  view.setUint32(8, Math.floor(boot % 1e9), true)
  vm.memory.write(gpa, record)
}
