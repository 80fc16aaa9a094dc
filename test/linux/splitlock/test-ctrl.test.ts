import { describe, expect, test } from 'vitest'
import { MSR_TEST_CTRL } from '../../../src/isa/msr-index.ts'
import { withPreemptionDisabled } from '../../../src/linux/preemption.ts'
import { setDetectionOfThread } from '../../../src/linux/splitlock/thread-flag.ts'
import { warnSplitLock } from '../../../src/linux/splitlock/warn.ts'
import type { Task } from '../../../src/linux/task.ts'
import type { Machine } from '../../../src/machine/machine.ts'
import { kernelProfiles } from '../../../src/profiles/index.ts'
import { bootHost, CallingProcess, E, type TestHostOptions } from '../host.ts'
import { runProgram, values } from '../programs.ts'

const SLD = 1n << 29n
/** The older control of bit 31, as firmware may leave it. */
const OLD = 1n << 31n
const small = { physicalBytes: 32 << 20 }
const registers = (machine: { processors: readonly { rdmsr(index: number): bigint }[] }) =>
  machine.processors.map((processor) => processor.rdmsr(MSR_TEST_CTRL))

/** Writes of MSR_TEST_CTRL on processor 0 during boot, and the kernel. `change` is what the register makes of a value; null is #GP. */
function bootWith(change: (value: bigint) => bigint | null, options: TestHostOptions = {}) {
  const writes: bigint[] = []
  const firmware = (machine: Machine) => {
    const [processor] = machine.processors
    const { wrmsr } = processor
    processor.msrs.set(MSR_TEST_CTRL, OLD)
    processor.wrmsr = (index, value) => {
      if (index !== MSR_TEST_CTRL) return wrmsr.call(processor, index, value)
      writes.push(value)
      const taken = change(value)
      return taken === null ? 13 : wrmsr.call(processor, index, taken)
    }
  }
  return { kernel: bootHost({ ...small, ...options, firmware }), writes }
}

describe('boot tries MSR_TEST_CTRL out', () => {
  test('bit 29 off, on, and as it was, each read back; then what the mode wants [SLD-10, SLD-14]', () => {
    const { kernel, writes } = bootWith((value) => value)
    expect(writes).toEqual([OLD, OLD | SLD, OLD, OLD | SLD])
    expect(kernel.splitLock).toMatchObject({ hasSplitLockDetect: true, mode: 'warn', cacheValue: OLD })
  })
  test.each([
    ['does not keep the bit', (value: bigint) => value & ~SLD],
    ['keeps it for ever', (value: bigint) => value | SLD],
    ['refuses the write', () => null],
  ])('a register that %s is as good as none: a line in the log, mode off [SLD-10]', (_what, change) => {
    const { kernel } = bootWith(change, { cpu: 'SapphireRapids,-bus-lock-detect', splitLockDetect: 'fatal' })
    expect(kernel.splitLock).toMatchObject({ hasSplitLockDetect: false, mode: 'off' })
    expect(kernel.log.lines.join()).toContain('x86/split lock detection: MSR access failed: Disabled')
  })
})

describe('bits of MSR_TEST_CTRL beside bit 29', () => {
  test('stay what they are while detection goes off for a moment and comes back [SLD-12]', () => {
    const firmware = ({ processors }: Machine) => processors.forEach(({ msrs }) => void msrs.set(MSR_TEST_CTRL, OLD))
    const kernel = bootHost({ ...small, firmware })
    kernel.splitLock.mitigate = false
    const { task } = new CallingProcess(kernel)
    expect(registers(kernel.machine)).toEqual([OLD | SLD, OLD | SLD])
    expect(warnSplitLock(task, 0x1000).next().done).toBe(true)
    expect(registers(kernel.machine)).toEqual([OLD, OLD | SLD])
    kernel.clock.skipTo(kernel.clock.now + 8e6)
    expect(registers(kernel.machine)).toEqual([OLD | SLD, OLD | SLD])
  })
  test('are those of the first processor once another has been written: there is one cached value [SLD-12]', () => {
    const kernel = bootHost({ ...small, firmware: ({ processors }) => void processors[0].msrs.set(MSR_TEST_CTRL, OLD) })
    kernel.splitLock.mitigate = false
    expect(registers(kernel.machine)).toEqual([OLD | SLD, SLD])
    warnSplitLock(new CallingProcess(kernel, 1).task, 0x1000).next()
    expect(registers(kernel.machine)).toEqual([OLD | SLD, OLD])
  })
})

describe('the thread flag', () => {
  const profile = 'linux-5.17'
  test('set, detection is off while its thread runs, and only there and then [SLD-26, SLD-27, SLD-29, SLD-30]', () => {
    const kernel = bootHost({ ...small, profile })
    const [flagged, plain, other] = [new CallingProcess(kernel, 0), new CallingProcess(kernel, 1), new CallingProcess(kernel, 1)]
    withPreemptionDisabled(flagged.task, setDetectionOfThread, false)
    expect(registers(kernel.machine)).toEqual([0n, SLD])
    flagged.leave()
    plain.leave()
    expect(registers(kernel.machine)).toEqual([SLD, SLD])
    const on = (task: Task, cpu: number) => kernel.scheduler.switchTo(kernel.cpus[cpu], task)
    on(flagged.task, 1)
    on(other.task, 0)
    expect(registers(kernel.machine)).toEqual([SLD, 0n])
  })
  test('equal flags, no access of the register, right or wrong as it is [SLD-27]', () => {
    const kernel = bootHost({ ...small, profile })
    const [first, second] = [new CallingProcess(kernel, 0), new CallingProcess(kernel, 1)]
    second.leave()
    first.leave()
    const processor = (kernel.machine as Machine).processors[0]
    processor.msrs.set(MSR_TEST_CTRL, 0n)
    for (const { task } of [first, second]) {
      kernel.scheduler.switchTo(kernel.cpus[0], task)
      kernel.scheduler.leave(kernel.cpus[0], task)
    }
    expect(registers(kernel.machine)).toEqual([0n, SLD])
  })
  test('was there until 5.18: kernels since turn detection off for a moment only [SLD-26, SLD-20]', () => {
    const releases = kernelProfiles.filter(({ name }) => name.startsWith('linux-'))
    const designs = releases.map(({ name, splitLock }) => [name, splitLock.warnDesign])
    expect(designs.filter(([, design]) => design === 'thread-flag').map(([name]) => name)).toEqual([
      'linux-5.15',
      'linux-5.16',
      'linux-5.17',
    ])
  })
  test('survives exec: the new program of a flagged thread is not reported [SLD-28]', () => {
    const { output, kernel, status } = runProgram('splitlocks', { args: ['e'], profile })
    expect([status, values(output).value]).toEqual([0, 1])
    expect(kernel.log.lines.filter((line) => line.includes('took a split_lock trap'))).toHaveLength(1)
    expect(values(output).first).toBeLessThan(1000)
  })
})

describe('two hyper-threads a core', () => {
  const four = { processors: 4, threadsPerCore: 2, ...small } as const

  test('share the register, and the kernel does not care: a thread without detection leaves its sibling without [SLD-06]', () => {
    const kernel = bootHost({ ...four, profile: 'linux-5.17' })
    const [flagged, plain] = [new CallingProcess(kernel, 0), new CallingProcess(kernel, 1)]
    withPreemptionDisabled(flagged.task, setDetectionOfThread, false)
    expect(kernel.cpus[1].current).toBe(plain.task)
    expect(registers(kernel.machine)).toEqual([0n, 0n, SLD, SLD])
    // And the other way round: a switch between flags on the sibling turns it on under the flagged thread.
    plain.leave()
    const second = new CallingProcess(kernel, 1)
    withPreemptionDisabled(second.task, setDetectionOfThread, false)
    second.leave()
    expect(registers(kernel.machine)).toEqual([SLD, SLD, SLD, SLD])
    expect(kernel.cpus[0].current).toBe(flagged.task)
  })
  test('are both without detection for the moment that one of them is allowed [SLD-06, SLD-20]', () => {
    const kernel = bootHost(four)
    kernel.splitLock.mitigate = false
    warnSplitLock(new CallingProcess(kernel, 3).task, 0x1000).next()
    expect(registers(kernel.machine)).toEqual([SLD, SLD, 0n, 0n])
    kernel.clock.skipTo(kernel.clock.now + 8e6)
    expect(registers(kernel.machine)).toEqual([SLD, SLD, SLD, SLD])
  })
  test('are modelled of Intel processors only, and whole cores', () => {
    expect(() => bootHost({ ...four, cpu: 'EPYC-Genoa' })).toThrow(/Intel/)
    expect(() => bootHost({ ...four, processors: 3 })).toThrow(/3 processors, 2 a core/)
  })
})

describe('a signal', () => {
  test('that comes while a thread waits for the bus-lock semaphore ends the penalty with detection on [SLD-19]', () => {
    const kernel = bootHost(small)
    const { task } = new CallingProcess(kernel)
    kernel.splitLock.busLockHeld = true
    const work = warnSplitLock(task, 0x1000)
    work.next()
    kernel.clock.skipTo(kernel.clock.now + 10e6)
    expect(work.next().done).toBe(false)
    task.pending.add({ signal: 10, code: 0 })
    task.wake()
    expect(work.next().done).toBe(true)
    expect(registers(kernel.machine)).toEqual([SLD, SLD])
    kernel.clock.skipTo(kernel.clock.now + 20e6)
    expect(kernel.splitLock.busLockHeld).toBe(true)
  })
})

describe('the kernel itself', () => {
  const FUTEX = 202
  test('takes no split lock for a program: a futex across lines, or misaligned at all, is EINVAL in every operation [SLD-23]', () => {
    const process = new CallingProcess(bootHost({ ...small, splitLockDetect: 'fatal' }))
    const { scratch } = process
    const split = scratch + 62
    // FUTEX_WAIT, WAKE, REQUEUE, CMP_REQUEUE, WAKE_OP (adds to the second word), WAIT_BITSET
    for (const operation of [0, 1, 3, 4, 5, 9])
      expect(process.call(FUTEX, split, operation, 1, 0, split, 1), `${operation}`).toBe(-E.EINVAL)
    expect(process.call(FUTEX, scratch, 5, 1, 0, split, 0x01000000)).toBe(-E.EINVAL)
    expect([...process.bytes(split, 4)]).toEqual([0, 0, 0, 0])
  })
})
