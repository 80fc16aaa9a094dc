import { describe, expect, test } from 'vitest'
import { MSR_IA32_DEBUGCTLMSR, MSR_TEST_CTRL } from '../../../src/isa/msr-index.ts'
import type { Kernel } from '../../../src/linux/kernel.ts'
import { warnSplitLock } from '../../../src/linux/splitlock/warn.ts'
import type { Machine } from '../../../src/machine/machine.ts'
import { bootHost, CallingProcess, type TestHostOptions } from '../host.ts'

const SLD = 1n << 29n
const MS = 1e6
/** Two jiffies of CONFIG_HZ=250. */
const REENABLED = 8 * MS
const [write, open, close] = [1, 2, 3]

const boot = (options: TestHostOptions = {}) => bootHost({ uid: 0, physicalBytes: 32 << 20, ...options })
const registers = (kernel: Kernel) => kernel.machine.processors.map((processor) => processor.rdmsr(MSR_TEST_CTRL))
const setRegister = (kernel: Kernel, cpu: number, value: bigint) =>
  void (kernel.machine as Machine).processors[cpu].wrmsr(MSR_TEST_CTRL, value)
const pass = ({ clock }: Kernel, time: number) => clock.skipTo(clock.now + time)

/** A host without mitigation, and who takes its processors offline, on processor 0. */
function host(options: TestHostOptions = {}) {
  const kernel = boot(options)
  kernel.splitLock.mitigate = false
  const root = new CallingProcess(kernel)
  const set = (cpu: number, text: string) => {
    const fd = root.call(open, root.text(`/sys/devices/system/cpu/cpu${cpu}/online`), 1, 0)
    expect(root.call(write, fd, root.text(text, 0x9000), text.length)).toBe(text.length)
    root.call(close, fd)
  }
  return { kernel, offline: (cpu: number) => set(cpu, '0'), online: (cpu: number) => set(cpu, '1') }
}

/** A process on `cpu` takes a split lock: without mitigation detection is off there at once. */
function split(kernel: Kernel, cpu: number): CallingProcess {
  const process = new CallingProcess(kernel, cpu)
  expect(warnSplitLock(process.task, 0x1000).next().done).toBe(true)
  return process
}

describe('a processor that goes offline in warn mode', () => {
  test('has detection on at once, although a split lock turned it off [SLD-16]', () => {
    const { kernel, offline } = host()
    split(kernel, 1)
    expect(registers(kernel)).toEqual([SLD, 0n])
    offline(1)
    expect(registers(kernel)).toEqual([SLD, SLD])
  })

  test('does so whatever its register says, other bits as they were at boot [SLD-16, SLD-12]', () => {
    const old = 1n << 31n
    const { kernel, offline } = host({
      firmware: ({ processors }) => processors.forEach(({ msrs }) => void msrs.set(MSR_TEST_CTRL, old)),
    })
    setRegister(kernel, 1, 0n)
    offline(1)
    expect(registers(kernel)).toEqual([old | SLD, old | SLD])
  })

  test('leaves its hyper-thread sibling with detection on, for the work that was to turn it on runs on another core [SLD-16, SLD-06]', () => {
    const { kernel, offline } = host({ processors: 4, threadsPerCore: 2 })
    split(kernel, 3)
    expect(registers(kernel)).toEqual([SLD, SLD, 0n, 0n])
    offline(3)
    expect(registers(kernel)).toEqual([SLD, SLD, SLD, SLD])
    // Nothing else would have: the work sets the bit of the first core.
    setRegister(kernel, 2, 0n)
    setRegister(kernel, 0, 0n)
    pass(kernel, REENABLED)
    expect(registers(kernel)).toEqual([SLD, SLD, 0n, 0n])
  })

  test('its pending work is done by a processor that is online, and sets the bit there [SLD-16, SLD-20]', () => {
    const { kernel, offline } = host()
    split(kernel, 1)
    offline(1)
    setRegister(kernel, 0, 0n)
    setRegister(kernel, 1, 0n)
    pass(kernel, REENABLED)
    expect(registers(kernel)).toEqual([SLD, 0n])
  })

  test('back before the work is due, it does it itself [SLD-16, SLD-20]', () => {
    const { kernel, offline, online } = host()
    split(kernel, 1)
    offline(1)
    pass(kernel, 4 * MS)
    online(1)
    setRegister(kernel, 0, 0n)
    setRegister(kernel, 1, 0n)
    pass(kernel, 4 * MS)
    expect(registers(kernel)).toEqual([0n, SLD])
  })

  test('the work gives the bus-lock semaphore back all the same [SLD-19]', () => {
    const { kernel, offline } = host()
    kernel.splitLock.mitigate = true
    const { task } = new CallingProcess(kernel, 1)
    const work = warnSplitLock(task, 0x1000)
    work.next()
    pass(kernel, 10 * MS)
    kernel.scheduler.dequeue(task)
    if (task.cpu === null) kernel.scheduler.switchTo(kernel.cpus[1], task)
    expect(work.next().done).toBe(true)
    expect([registers(kernel), kernel.splitLock.busLockHeld]).toEqual([[SLD, 0n], true])
    offline(1)
    expect([registers(kernel), kernel.splitLock.busLockHeld]).toEqual([[SLD, SLD], true])
    pass(kernel, REENABLED)
    expect(kernel.splitLock.busLockHeld).toBe(false)
  })

  test('the task that took the lock tries again on another one, where detection is on [SLD-20]', () => {
    const { kernel, offline } = host()
    const { task } = split(kernel, 1)
    offline(1)
    expect([task.cpuId, registers(kernel)[task.cpuId]]).toEqual([0, SLD])
  })
})

describe('elsewhere', () => {
  test.each([
    ['mode off', { splitLockDetect: 'off' }, SLD],
    ['mode fatal', { splitLockDetect: 'fatal' }, 0n],
    ['mode ratelimit', { splitLockDetect: 'ratelimit:10' }, SLD],
    ['the older design, whose thread flag turns it on when the thread leaves', { profile: 'linux-5.17' }, 0n],
  ] as const)('nothing is called back, the register stays what it is: %s [SLD-16]', (_what, options, value) => {
    const { kernel, offline } = host(options)
    setRegister(kernel, 1, value)
    offline(1)
    expect(registers(kernel)[1]).toBe(value)
  })
})

describe('a processor that comes back is programmed as at boot', () => {
  test.each([
    ['off', 0n, 0n],
    ['warn', SLD, 0n],
    ['fatal', SLD, 0n],
    ['ratelimit:10', 0n, 4n],
  ])('%s: MSR_TEST_CTRL %s, IA32_DEBUGCTL %s [SLD-14]', (mode, testCtrl, debugCtl) => {
    const { kernel, offline, online } = host({ splitLockDetect: mode })
    const [, processor] = (kernel.machine as Machine).processors
    const see = () => [processor.rdmsr(MSR_TEST_CTRL), processor.rdmsr(MSR_IA32_DEBUGCTLMSR)]
    expect(see()).toEqual([testCtrl, debugCtl])
    offline(1)
    setRegister(kernel, 1, testCtrl ^ SLD)
    processor.wrmsr(MSR_IA32_DEBUGCTLMSR, debugCtl ^ 4n)
    online(1)
    expect(see()).toEqual([testCtrl, debugCtl])
  })
})
