import { describe, expect, test } from 'vitest'
import { MSR_TEST_CTRL } from '../../../src/isa/msr-index.ts'
import type { VirtualizingProcessor } from '../../../src/kvm/run/world-switch.ts'
import type { Vcpu } from '../../../src/kvm/vcpu/vcpu.ts'
import { withPreemptionDisabled } from '../../../src/linux/preemption.ts'
import { isDetectionOn } from '../../../src/linux/splitlock/door.ts'
import { isDetectionOffFor, setDetectionOfThread } from '../../../src/linux/splitlock/thread-flag.ts'
import type { Task } from '../../../src/linux/task.ts'
import { restoreVcpu } from '../../../src/vmm/small-vmm/restore.ts'
import { saveVcpu } from '../../../src/vmm/small-vmm/save.ts'
import { testHost } from '../../vmm/hosts.ts'
import { guestOn, LOCK_INC, OUT_DONE, outcome, PORT_DONE, type Ring, type SplitLockGuest, splitLockGuest } from './rings.ts'

const SLD = 1n << 29n
const kernel = 'proposal:sld-virt-v8'
const ring0: Ring = { cpl: 0, alignmentCheck: false }
const LOCK = [...LOCK_INC, ...OUT_DONE]
const CPUID = [0x31, 0xc0, 0x0f, 0xa2]

const threadOf = ({ host, vcpu }: SplitLockGuest): Task => host.kernel.tasks.get(vcpu.vm.kvm.process.syscall('getpid', 39))!
const modelOf = ({ host }: SplitLockGuest): Vcpu => [...host.kvm.vms].at(-1)!.vcpuById(0)!
const register = ({ host }: SplitLockGuest, cpu: number): boolean =>
  (host.kernel.cpus[cpu].processor.rdmsr(MSR_TEST_CTRL) & SLD) !== 0n
const turnOff = (guest: SplitLockGuest) => withPreemptionDisabled(threadOf(guest), setDetectionOfThread, false)

/** From now on: writes of the register as `on` and `off`, and VM entries between them with register and flag as they are then. */
function observe(guest: SplitLockGuest): string[] {
  const events: string[] = []
  for (const { processor } of guest.host.kernel.cpus) {
    const real = processor as VirtualizingProcessor
    const { wrmsr, enterGuest } = real
    Object.assign(real, {
      wrmsr(index: number, value: bigint) {
        if (index === MSR_TEST_CTRL) events.push((value & SLD) !== 0n ? 'on' : 'off')
        return wrmsr.call(real, index, value)
      },
      enterGuest(...args: Parameters<typeof enterGuest>) {
        const bit = Number((real.rdmsr(MSR_TEST_CTRL) & SLD) !== 0n)
        const entry = `enter SLD=${bit} TIF=${Number(isDetectionOffFor(threadOf(guest)))}`
        if (events.at(-1) !== entry) events.push(entry)
        return enterGuest.apply(real, args)
      },
    })
  }
  return events
}

describe('the switch between the settings of host and guest', () => {
  // Mode, F, TIF of the thread, G: what is written. Only in warn mode, with the feature, and where the flag says it has to be.
  test.each([
    ['warn', true, 0, false, ['off', 'enter SLD=0 TIF=1', 'on']],
    ['warn', true, 0, true, ['enter SLD=1 TIF=0']],
    ['warn', true, 1, false, ['enter SLD=0 TIF=1']],
    ['warn', true, 1, true, ['on', 'enter SLD=1 TIF=0', 'off']],
    ['warn', false, 0, false, ['enter SLD=1 TIF=0']],
    ['warn', false, 1, false, ['enter SLD=0 TIF=1']],
    ['fatal', true, 0, false, ['enter SLD=1 TIF=0']],
    ['fatal', true, 0, true, ['enter SLD=1 TIF=0']],
    ['ratelimit:10', true, 0, true, ['enter SLD=0 TIF=0']],
  ] as const)(
    '%s, F=%s, TIF=%d, G=%s: %j is what happens [SLD-43, SLD-45, SLD-30]',
    (splitLockDetect, offered, flag, detects, expected) => {
      const guest = splitLockGuest(OUT_DONE, ring0, { kernel, splitLockDetect })
      if (!offered) guest.vcpu.writeMsr(0xcf, 0n)
      if (detects) guest.vcpu.writeMsr(0x33, SLD)
      if (flag === 1) turnOff(guest)
      const events = observe(guest)
      expect(outcome(guest)).toBe('runs')
      expect(events).toEqual(expected)
      expect(isDetectionOffFor(threadOf(guest))).toBe(flag === 1)
    },
  )

  test('is decided by the flag; a register that is wrong for it stays wrong [SLD-55, SLD-27]', () => {
    const guest = splitLockGuest(LOCK, ring0, { kernel })
    guest.vcpu.writeMsr(0x33, SLD)
    const { cpu } = threadOf(guest)
    guest.host.machine.processors[cpu!.id].wrmsr(MSR_TEST_CTRL, 0n)
    const events = observe(guest)
    expect(outcome(guest)).toBe('runs')
    expect(events).toEqual(['enter SLD=0 TIF=0'])
    expect(register(guest, cpu!.id)).toBe(false)
  })

  test('comes once before the first of many VM entries and is undone once, in vcpu_put: exits that KVM handles cost nothing [SLD-56, SLD-57]', () => {
    const guest = splitLockGuest([...CPUID, ...CPUID, ...CPUID, ...OUT_DONE], ring0, { kernel })
    const events = observe(guest)
    expect(outcome(guest)).toBe('runs')
    expect(modelOf(guest).stats.exits).toBeGreaterThanOrEqual(4)
    expect(events).toEqual(['off', 'enter SLD=0 TIF=1', 'on'])
  })

  test('notes the thread’s setting once, not the guest’s while that is loaded [SLD-57, SLD-30]', () => {
    for (const off of [false, true]) {
      const guest = splitLockGuest([...CPUID, ...CPUID, ...OUT_DONE], ring0, { kernel })
      guest.vcpu.writeMsr(0x33, off ? SLD : 0n)
      if (off) turnOff(guest)
      const { splitLock } = modelOf(guest)
      const notes = new Set<boolean>()
      const { load } = splitLock!
      splitLock!.load = (cpu) => {
        load.call(splitLock, cpu)
        notes.add(splitLock!.hostDetection)
      }
      outcome(guest)
      expect([...notes]).toEqual([!off])
      expect(isDetectionOn(threadOf(guest))).toBe(!off)
    }
  })
})

describe('a vCPU that takes INIT while its setting is loaded', () => {
  /** A guest with detection that sends INIT to itself; at the reset vector it takes a split lock. */
  function initGuest() {
    const host = testHost({ kernel })
    const { process } = host.newProcess().openKvm()
    const vm = process.openKvm().createVm()
    vm.createIrqchip()
    const [low, high] = [process.allocate(0x10000), process.allocate(0x10000)]
    // mov $0x830, %ecx; mov $0x4500, %eax; xor %edx, %edx; wrmsr: x2APIC ICR, INIT to APIC id 0; nop
    low.write(0, Uint8Array.of(0x66, 0xb9, 0x30, 8, 0, 0, 0x66, 0xb8, 0, 0x45, 0, 0, 0x66, 0x31, 0xd2, 0x0f, 0x30, 0x90))
    // lock incl 0x103e; out %al, $0x80; again
    const lock = [0xf0, 0x66, 0xff, 0x06, 0x3e, 0x10, 0xe6, 0x80]
    high.write(0xfff0, Uint8Array.of(...lock, ...lock))
    vm.setUserMemoryRegion({ slot: 0, guestPhysAddr: 0, memory: low })
    vm.setUserMemoryRegion({ slot: 1, guestPhysAddr: 0xffff0000, memory: high })
    const vcpu = vm.createVcpu()
    vcpu.setCpuid2(vm.kvm.getSupportedCpuid())
    const sregs = vcpu.getSregs()
    vcpu.setSregs({ ...sregs, apic_base: sregs.apic_base | 0xc00n, cs: { ...sregs.cs, base: 0n, selector: 0 } })
    vcpu.setRegs({ ...vcpu.getRegs(), rip: 0n })
    const value = () => new DataView(Uint8Array.from(low.bytes(0x103e, 4)).buffer).getUint32(0, true)
    return { host, vcpu, memory: low, value } satisfies SplitLockGuest
  }

  test('has MSR_TEST_CTRL 0, but detection until it is put and loaded again: its split lock is warned about, and only the first [SLD-51, SLD-59]', () => {
    const guest = initGuest()
    expect(guest.vcpu.readMsr(0x33)).toBe(0n)
    guest.vcpu.writeMsr(0x33, SLD)
    const traps = () => guest.host.kernel.log.lines.filter((line) => line.includes('took a split_lock trap')).length
    const runs = () => guest.vcpu.run({ maxInstructions: 1000 })
    expect(runs()).toMatchObject({ reason: 'io', port: PORT_DONE })
    expect([guest.value(), traps(), guest.vcpu.readMsr(0x33)]).toEqual([1, 1, 0n])
    // Warned with the feature: what was noted before the guest came on is restored.
    expect([isDetectionOn(threadOf(guest)), register(guest, threadOf(guest).cpu!.id)]).toEqual([true, true])
    expect(runs()).toMatchObject({ reason: 'io', port: PORT_DONE })
    expect([guest.value(), traps()]).toEqual([2, 1])
  })
})

describe('migration', () => {
  test('of the thread: the guest’s value goes with the vCPU, the flag with the thread, the register stays [SLD-67, SLD-27]', () => {
    const guest = splitLockGuest([...OUT_DONE, ...OUT_DONE], ring0, { kernel })
    const { process } = guest.vcpu.vm.kvm
    const mask = process.allocate(4096)
    const moveTo = (cpu: number) => {
      mask.write(0, Uint8Array.of(1 << cpu, 0, 0, 0, 0, 0, 0, 0))
      process.syscall('sched_setaffinity', 203, 0, 8, mask.address)
    }
    const all = () => [register(guest, 0), register(guest, 1), isDetectionOn(threadOf(guest)), guest.vcpu.readMsr(0x33)]
    moveTo(0)
    guest.vcpu.writeMsr(0x33, SLD)
    turnOff(guest)
    outcome(guest)
    expect(all()).toEqual([false, true, false, SLD])
    moveTo(1)
    expect(threadOf(guest).cpu!.id).toBe(1)
    expect(all()).toEqual([true, false, false, SLD])
    const events = observe(guest)
    outcome(guest)
    expect(events).toEqual(['on', 'enter SLD=1 TIF=0', 'off'])
    expect(all()).toEqual([true, false, false, SLD])
  })

  test('from a warn to a fatal host: the registers are the same, only a split lock without the guest’s detection ends otherwise [SLD-65]', () => {
    const outcomes = [false, true].map((detects) => {
      const from = splitLockGuest(LOCK, ring0, { kernel, splitLockDetect: 'warn' })
      if (detects) from.vcpu.writeMsr(0x33, SLD)
      const state = saveVcpu(from.vcpu)
      const to = guestOn(testHost({ kernel, splitLockDetect: 'fatal' }), LOCK, ring0)
      restoreVcpu(to.vcpu, state)
      for (const index of [0x33, 0xcf]) expect(to.vcpu.readMsr(index)).toBe(from.vcpu.readMsr(index))
      expect(to.vcpu.readMsr(0x33)).toBe(detects ? SLD : 0n)
      return [outcome(from), outcome(to)]
    })
    expect(outcomes).toEqual([
      ['runs', 'SIGBUS'],
      ['#AC', '#AC'],
    ])
  })

  test('with MSR_IA32_CORE_CAPS[5] withdrawn on the target it has to come before MSR_TEST_CTRL [SLD-62]', () => {
    const { vcpu } = splitLockGuest(OUT_DONE, ring0, { kernel })
    vcpu.writeMsr(0xcf, 0n)
    const [control, capability] = [
      { index: 0x33, data: SLD },
      { index: 0xcf, data: 0x20n },
    ]
    // As the list has them: the index of the entry that failed.
    expect(vcpu.setMsrs([control, capability])).toBe(0)
    expect(vcpu.setMsrs([capability, control])).toBe(2)
    expect(vcpu.readMsr(0x33)).toBe(SLD)
  })
})
