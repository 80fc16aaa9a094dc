import { describe, expect, test } from 'vitest'
import type { Kernel } from '../../../src/linux/kernel.ts'
import type { PreemptNotifier } from '../../../src/linux/task.ts'
import { bootHost, CallingProcess, E, type TestHostOptions } from '../host.ts'
import { runProgram, values } from '../programs.ts'

const CPU = '/sys/devices/system/cpu'
const [read, write, open, close, sched_setaffinity, sched_getaffinity] = [0, 1, 2, 3, 203, 204]
const O_WRONLY = 1

const boot = (options: TestHostOptions = {}) => bootHost({ uid: 0, physicalBytes: 32 << 20, ...options })

/** What the file holds; null when there is none. */
function contents(p: CallingProcess, path: string): string | null {
  const fd = p.call(open, p.text(path), 0, 0)
  if (fd === -E.ENOENT) return null
  const count = p.call(read, fd, p.scratch, 0x4000)
  p.call(close, fd)
  return String.fromCharCode(...p.bytes(p.scratch, count))
}

/** What write(2) of `text` to cpuN/online returns. */
function setOnline(p: CallingProcess, cpu: number, text: string): number {
  const fd = p.call(open, p.text(`${CPU}/cpu${cpu}/online`), O_WRONLY, 0)
  if (fd < 0) return fd
  const result = p.call(write, fd, p.text(text, 0x9000), text.length)
  p.call(close, fd)
  return result
}

const setAffinity = (p: CallingProcess, mask: number): number => {
  p.write(p.scratch, [mask, 0, 0, 0, 0, 0, 0, 0])
  return p.call(sched_setaffinity, 0, 8, p.scratch)
}
const getAffinity = (p: CallingProcess): number => {
  expect(p.call(sched_getaffinity, 0, 8, p.scratch)).toBe(8)
  return p.bytes(p.scratch, 1)[0]
}
const said = ({ log }: Kernel, text: string): number => log.lines.filter((line) => line.includes(text)).length

describe('cpuN/online', () => {
  test('is there for every processor but the first, which nobody can take offline', () => {
    const p = new CallingProcess(boot({ processors: 3 }))
    expect([0, 1, 2].map((cpu) => contents(p, `${CPU}/cpu${cpu}/online`))).toEqual([null, '1\n', '1\n'])
    expect(setOnline(p, 0, '0')).toBe(-E.ENOENT)
  })

  test.each([
    ['0', '0\n'],
    ['0\n', '0\n'],
    ['no', '0\n'],
    ['Off', '0\n'],
    ['1', '1\n'],
    ['on', '1\n'],
    ['Yes', '1\n'],
  ])('%j, as kstrtobool() reads it, makes it %j', (text, online) => {
    const p = new CallingProcess(boot())
    expect(setOnline(p, 1, text)).toBe(text.length)
    expect(contents(p, `${CPU}/cpu1/online`)).toBe(online)
  })

  test('other text is EINVAL and changes nothing', () => {
    const p = new CallingProcess(boot())
    for (const text of ['2', 'x', 'o', ' 0', '-1', '\n']) expect(setOnline(p, 1, text), text).toBe(-E.EINVAL)
    expect(contents(p, `${CPU}/online`)).toBe('0-1\n')
  })

  test('what it is already, it can be told again', () => {
    const p = new CallingProcess(boot())
    expect([setOnline(p, 1, '1'), setOnline(p, 1, '0'), setOnline(p, 1, '0')]).toEqual([1, 1, 1])
    expect(said(p.kernel, 'smpboot: CPU 1 is now offline')).toBe(1)
    expect(said(p.kernel, 'smpboot: Booting Node 0 Processor 1 APIC 0x1')).toBe(0)
  })

  test('is for root to write: EACCES for others, who may read it', () => {
    const p = new CallingProcess(boot({ uid: 1000 }))
    expect(setOnline(p, 1, '0')).toBe(-E.EACCES)
    expect(contents(p, `${CPU}/cpu1/online`)).toBe('1\n')
  })
})

describe('what programs see of a processor that is offline, until it is back', () => {
  const p = new CallingProcess(boot({ processors: 4 }))
  const look = () => ({
    lists: ['online', 'offline', 'possible', 'present'].map((name) => contents(p, `${CPU}/${name}`)),
    node: contents(p, '/sys/devices/system/node/node0/cpulist'),
    topology: contents(p, `${CPU}/cpu2/topology/core_id`),
    cpuinfo: contents(p, '/proc/cpuinfo')!.match(/^(processor|siblings|cpu cores)\t.*/gm),
    stat: contents(p, '/proc/stat')!.match(/^cpu\d+/gm),
    affinity: getAffinity(p),
  })
  const lines = (ids: number[]) =>
    ids.flatMap((id) => [`processor\t: ${id}`, `siblings\t: ${ids.length}`, `cpu cores\t: ${ids.length}`])
  const all = {
    lists: ['0-3\n', '\n', '0-3\n', '0-3\n'],
    node: '0-3\n',
    topology: '2\n',
    cpuinfo: lines([0, 1, 2, 3]),
    stat: ['cpu0', 'cpu1', 'cpu2', 'cpu3'],
    affinity: 0xf,
  }

  test('lists of processors, topology, /proc/cpuinfo, /proc/stat, sched_getaffinity', () => {
    expect(setAffinity(p, 0xf)).toBe(0)
    expect(look()).toEqual(all)
    setOnline(p, 2, '0')
    expect(look()).toEqual({
      lists: ['0-1,3\n', '2\n', '0-3\n', '0-3\n'],
      node: '0-1,3\n',
      topology: null,
      cpuinfo: lines([0, 1, 3]),
      stat: ['cpu0', 'cpu1', 'cpu3'],
      affinity: 0xb,
    })
    setOnline(p, 2, '1')
    expect(look()).toEqual(all)
  })

  test('time does not pass for it', () => {
    const ticks = () =>
      contents(p, '/proc/stat')!
        .match(/^cpu.*/gm)!
        .map((line) => Number(line.split(/ +/)[1]))
    p.kernel.clock.skipTo(1e9)
    setOnline(p, 3, '0')
    p.kernel.clock.skipTo(3e9)
    expect(ticks()).toEqual([300 * 3 + 100, 300, 300, 300])
    setOnline(p, 3, '1')
    p.kernel.clock.skipTo(4e9)
    expect(ticks()).toEqual([400 * 3 + 200, 400, 400, 400, 200])
  })

  test('a mask with nothing but it is EINVAL; with others beside it, it counts when it is back [LUX-27]', () => {
    setOnline(p, 1, '0')
    expect(setAffinity(p, 2)).toBe(-E.EINVAL)
    expect([setAffinity(p, 3), getAffinity(p)]).toEqual([0, 1])
    setOnline(p, 1, '1')
    expect(getAffinity(p)).toBe(3)
  })

  test('of two hyper-threads the one that is left has no sibling', () => {
    const smt = new CallingProcess(boot({ processors: 4, threadsPerCore: 2 }))
    const see = () => ['cpu2/topology/thread_siblings_list', 'smt/active'].map((name) => contents(smt, `${CPU}/${name}`))
    const cores = () => contents(smt, '/proc/cpuinfo')!.match(/^cpu cores.*/m)![0]
    expect([see(), cores()]).toEqual([['2-3\n', '1\n'], 'cpu cores\t: 2'])
    setOnline(smt, 3, '0')
    expect([see(), cores()]).toEqual([['2\n', '1\n'], 'cpu cores\t: 2'])
    setOnline(smt, 2, '0')
    setOnline(smt, 1, '0')
    expect([see()[1], cores()]).toEqual(['0\n', 'cpu cores\t: 1'])
  })
})

describe('tasks of a processor that goes offline', () => {
  /** A process that calls on processor 0, and others on processor 1: the first runs there, the rest wait. */
  function host(others: number) {
    const kernel = boot()
    const root = new CallingProcess(kernel, 0)
    const tasks = Array.from({ length: others }, () => {
      const p = new CallingProcess(kernel, 1)
      p.leave()
      p.task.affinity = 2
      p.task.cpuId = 1
      return p.task
    })
    return { kernel, root, tasks }
  }

  test('one that runs there, one that waits and one that sleeps go elsewhere, bound to it or not; the log says so', () => {
    const { kernel, root, tasks } = host(3)
    const [running, waiting, sleeping] = tasks
    kernel.scheduler.switchTo(kernel.cpus[1], running)
    kernel.scheduler.enqueue(waiting)
    sleeping.state = 'sleeping'
    expect(setOnline(root, 1, '0')).toBe(1)
    expect([kernel.cpus[1].current, kernel.cpus[1].queue.length]).toEqual([null, 0])
    expect([running, waiting].map(({ cpuId, queued, affinity }) => [cpuId, queued, affinity])).toEqual([
      [0, true, 3],
      [0, true, 3],
    ])
    // One that sleeps is nowhere: it finds out when it wakes.
    expect([sleeping.affinity, said(kernel, 'no longer affine to cpu1')]).toEqual([2, 2])
    sleeping.wake()
    expect([sleeping.cpuId, sleeping.affinity, said(kernel, `process ${sleeping.tid} () no longer affine to cpu1`)]).toEqual([
      0, 3, 1,
    ])
  })

  test('one that may run elsewhere keeps its mask, and nothing is said', () => {
    const { kernel, root, tasks } = host(1)
    tasks[0].affinity = 3
    kernel.scheduler.switchTo(kernel.cpus[1], tasks[0])
    setOnline(root, 1, '0')
    expect([tasks[0].cpuId, tasks[0].affinity, said(kernel, 'no longer affine')]).toEqual([0, 3, 0])
  })

  test('the preempt notifier of a vCPU thread is told that it was preempted there, and where it goes on', () => {
    const { kernel, root, tasks } = host(1)
    const told: string[] = []
    const notifier: PreemptNotifier = {
      schedIn: (cpu) => void told.push(`in ${cpu.id}`),
      schedOut: (cpu, preempted) => void told.push(`out ${cpu.id} ${preempted}`),
    }
    tasks[0].preemptNotifier = notifier
    kernel.scheduler.switchTo(kernel.cpus[1], tasks[0])
    setOnline(root, 1, '0')
    root.leave()
    kernel.scheduler.switchTo(kernel.cpus[0], tasks[0])
    expect(told).toEqual(['in 1', 'out 1 true', 'in 0'])
  })

  test('no task is put on it while it is offline; when it is back one is', () => {
    const { kernel, root, tasks } = host(2)
    for (const task of tasks) task.affinity = 3
    setOnline(root, 1, '0')
    for (const task of tasks) kernel.scheduler.enqueue(task)
    expect(tasks.map(({ cpuId }) => cpuId)).toEqual([0, 0])
    for (const task of tasks) kernel.scheduler.dequeue(task)
    setOnline(root, 1, '1')
    for (const task of tasks) kernel.scheduler.enqueue(task)
    // The other processor is busy.
    expect(tasks[0].cpuId).toBe(1)
  })
})

describe('programs', () => {
  const run = (scenario: string) => values(runProgram('processes', { args: [scenario], uid: 0, physicalBytes: 32 << 20 }).output)
  test('a loop bound to it goes on elsewhere, its registers with it; it can be bound there again when the processor is back', () => {
    expect(run('h')).toMatchObject({ written: 1, before: 1, after: 0, mark: 0x1234567890, bind: 22, again: 2, bound: 0, cpu: 1 })
  })
  test('the one that writes may be there itself: it is elsewhere when the call returns, and may run anywhere from then on', () => {
    expect(run('o')).toMatchObject({ before: 1, written: 1, after: 0, allowed: 1, later: 3 })
  })
})

describe('extended state of a processor that comes back', () => {
  test('is nobody’s; XCR0 and IA32_XFD are as after boot [PERM-11, PERM-13, PERM-40]', () => {
    const kernel = boot()
    const root = new CallingProcess(kernel, 0)
    const [, cpu] = kernel.cpus
    const [, processor] = kernel.machine.processors as unknown as {
      setXcr0(value: number): void
      wrmsrXfd(value: number): void
      xcr0: number
      xfd: number
    }[]
    const booted = [processor.xcr0, processor.xfd]
    setOnline(root, 1, '0')
    processor.setXcr0(7)
    processor.wrmsrXfd(0)
    setOnline(root, 1, '1')
    expect([processor.xcr0, processor.xfd, cpu.xfdShadow, cpu.fpuOwner]).toEqual([...booted, booted[1], null])
  })
})
