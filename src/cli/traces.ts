import type { Kernel } from '../linux/kernel.ts'
import type { Refusal } from '../linux/refusal.ts'
import type { Task } from '../linux/task.ts'
import { refusalJson } from '../tools/explain.ts'
import { refusalLines } from './explain.ts'
import type { ProgramHost } from './program-host.ts'
import { modelsWith } from './unmodelled.ts'

export interface TraceOptions {
  readonly strace: boolean
  readonly trace: boolean
  readonly traceFormat: string
  readonly explain: boolean
}

type RefusalPrinter = (task: Task | null, vcpu: number, call: string | null, result: number | null, reason: Refusal) => void

/** Prints refusals as `--explain` and `--trace-format json` want them; null where neither is given. */
function refusalPrinter(kernel: Kernel, options: TraceOptions, say: (text: string) => void): RefusalPrinter | null {
  const asJson = options.trace && options.traceFormat === 'json'
  if (!asJson && !options.explain) return null
  return (task, vcpu, call, result, reason) => {
    const tid = task?.tid ?? null
    if (asJson) {
      const event = { event: 'refusal', at: kernel.clock.now, tid, vcpu: vcpu < 0 ? null : vcpu, call, result }
      say(JSON.stringify({ ...event, reason: refusalJson(reason) }))
      return
    }
    const what = call ?? (vcpu < 0 ? 'exception' : `guest, vcpu ${vcpu}`)
    const [first, ...chain] = refusalLines(what, result, reason)
    for (const line of [`[${tid ?? '-'}] ${first}`, ...chain]) say(line)
  }
}

const becauseOf = (reason: Refusal | null): string => (reason === null ? '' : ` (${reason.sentence} ${reason.rule})`)

/** Connects the kernel's trace hooks to standard error. */
export function attachTraces({ kernel, machine }: ProgramHost, options: TraceOptions): void {
  const say = (text: string) => process.stderr.write(`${text}\n`)
  const { trace } = kernel
  const refused = refusalPrinter(kernel, options, say)
  if (options.strace || refused !== null) {
    trace.syscall = (task, text, result, refusal) => {
      if (options.strace) say(`[${task.tid}] ${text} = ${result ?? '?'}${becauseOf(refusal)}`)
      if (refusal !== null && result !== null) refused?.(task, -1, text, result, refusal)
    }
    trace.signal = (task, text) => say(`[${task.tid}] --- ${text} ---`)
    if (options.strace) trace.exit = (task, text) => say(`[${task.tid}] +++ ${text} +++`)
  }
  if (refused !== null) trace.exception = (task, vcpu, refusal) => refused(task, vcpu, null, null, refusal)
  if (!options.trace) return
  const event = (name: string, tid: number | null, values: Record<string, number | string>) => {
    const at = kernel.clock.now
    if (options.traceFormat === 'json') say(JSON.stringify({ event: name, at, tid, ...values }))
    else
      say(
        `${(at / 1000).toFixed(3).padStart(12)} us ${tid ?? '-'} ${name}: ${Object.entries(values)
          .map(([k, v]) => `${k}=${typeof v === 'number' ? `0x${v.toString(16)}` : v}`)
          .join(' ')}`,
      )
  }
  trace.fpu = (name, task, values) => event(name, task.tid, values)
  trace.event = (name, task, values) => event(name, task?.tid ?? null, values)
  machine.unsupported.onFirst = ({ mnemonic, bytes, rip, reason, features }) =>
    event('unsupported_instruction', null, {
      mnemonic,
      bytes,
      address: rip.toString(16),
      reason,
      feature: features.join(' '),
      models: modelsWith(features).join(' '),
    })
}
