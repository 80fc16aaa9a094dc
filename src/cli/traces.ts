import type { ProgramHost } from './program-host.ts'
import { modelsWith } from './unmodelled.ts'

export interface TraceOptions {
  readonly strace: boolean
  readonly trace: boolean
  readonly traceFormat: string
  readonly explain: boolean
}

/** Connects the kernel's trace hooks to standard error. */
export function attachTraces({ kernel, machine }: ProgramHost, options: TraceOptions): void {
  const say = (text: string) => process.stderr.write(`${text}\n`)
  const { trace } = kernel
  if (options.strace || options.explain) {
    trace.syscall = (task, text, result, refusal) => {
      const because = refusal?.because === undefined ? '' : ` (${refusal.because}${refusal.rule ? ` ${refusal.rule}` : ''})`
      if (options.strace) say(`[${task.tid}] ${text} = ${result ?? '?'}${because}`)
      else if (because !== '') say(`[${task.tid}] ${text} = ${result}${because}`)
    }
    trace.signal = (task, text) => say(`[${task.tid}] --- ${text} ---`)
    if (options.strace) trace.exit = (task, text) => say(`[${task.tid}] +++ ${text} +++`)
  }
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
