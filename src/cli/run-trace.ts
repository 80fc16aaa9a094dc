import type { Refusal } from '../linux/refusal.ts'
import { refusalJson } from '../tools/explain.ts'
import type { Host, HostEvent, HostRefusal } from '../vmm/modelled/host.ts'
import { refusalLines } from './explain.ts'
import type { RunConsole } from './run-console.ts'
import type { RunOptions } from './run-options.ts'
import { modelsWith } from './unmodelled.ts'

type Values = Readonly<Record<string, number | string>>

/** Events of kernel and KVM that say what becomes of a guest's state; the others are everyday business. */
const SHOWN = new Set([
  'permission_request',
  'fpstate_grown',
  'guest_fpstate_grown',
  'kvm_create_vm',
  'kvm_create_vcpu',
  'kvm_xfd_write',
  'kvm_xcr0_write',
  'kvm_nm',
  'oops',
])
/** Of ioctls, those that move extended state or fix what it can be; and every refused one. */
const SHOWN_IOCTLS = new Set(['KVM_SET_CPUID2', 'KVM_GET_XSAVE2', 'KVM_SET_XSAVE', 'KVM_SET_XCRS'])
/** Of MSR accesses that KVM sees, those around state components (writes of IA32_XFD have an event of their own). */
const SHOWN_MSRS = new Set(['MSR_IA32_XFD_ERR', 'MSR_IA32_XSS'])

function isShown({ name, values }: HostEvent): boolean {
  if (name === 'kvm_ioctl') return SHOWN_IOCTLS.has(String(values['ioctl'])) || Number(values['result']) < 0
  if (name === 'kvm_msr') return SHOWN_MSRS.has(String(values['msr']))
  return SHOWN.has(name)
}

/** Prints events on standard error, a line each, in the order in which they happen, between the guest's own output. */
export class RunTrace {
  private readonly options: RunOptions
  private readonly console: RunConsole
  /** The last exception that a guest got because KVM refused something: what its end is explained with. */
  lastException: Refusal | null = null

  constructor(options: RunOptions, console: RunConsole) {
    this.options = options
    this.console = console
  }

  /** Events and refusals of `host` from now on, as far as they are asked for. */
  watch(host: Host): void {
    const { trace, explain, traceFormat } = this.options
    const asJson = trace && traceFormat === 'json'
    host.watch({
      ...(trace ? { event: (event) => isShown(event) && this.print(host, event.name, event.at, event.tid, event.values) } : {}),
      ...(explain || asJson ? { refusal: (refusal) => this.refused(host, refusal, asJson) } : {}),
      exception: ({ vcpu, reason }) => {
        if (vcpu !== null) this.lastException = reason
      },
    })
    if (!trace) return
    host.machine.unsupported.onFirst = ({ mnemonic, bytes, rip, reason, features }) =>
      this.print(host, 'unsupported_instruction', host.kernel.clock.now, null, {
        mnemonic,
        bytes,
        address: `0x${rip.toString(16)}`,
        reason,
        feature: features.join(' '),
        models: modelsWith(features).join(' '),
      })
  }

  private refused(host: Host, { at, tid, vcpu, call, result, reason }: HostRefusal, asJson: boolean): void {
    if (asJson) {
      const event = { event: 'refusal', at, host: host.model.spec, tid, vcpu, call, result }
      this.say(JSON.stringify({ ...event, reason: refusalJson(reason) }))
    } else for (const line of refusalLines(call ?? `guest, vcpu ${vcpu}`, result, reason)) this.say(line)
  }

  /** An event of the VMM itself. */
  vmm(host: Host, name: string, values: Values): void {
    if (this.options.trace) this.print(host, name, host.kernel.clock.now, null, values)
  }

  private print(host: Host, name: string, at: number, tid: number | null, values: Values): void {
    const { spec } = host.model
    if (this.options.traceFormat === 'json') this.say(JSON.stringify({ event: name, at, host: spec, tid, ...values }))
    else this.say(`${(at / 1000).toFixed(3).padStart(12)} us ${spec} ${name}: ${describe(values)}`.trimEnd().replace(/:$/, ''))
  }

  private say(line: string): void {
    this.console.flush()
    process.stderr.write(`${line}\n`)
  }
}

/** `component=0x12 result=0`; an ioctl is one sentence already. */
function describe(values: Values): string {
  if (values['text'] !== undefined) return String(values['text'])
  return Object.entries(values)
    .map(([name, value]) => `${name}=${typeof value === 'number' ? number(name, value) : value}`)
    .join(' ')
}

/** Masks, addresses and ports read best in hex; numbers of things do not. */
const COUNTED = new Set([
  'entries',
  'component',
  'vcpu',
  'size',
  'uabiSize',
  'uabi_size',
  'xsave_bytes',
  'memory',
  'msrs',
  'pages',
  'result',
])
const number = (name: string, value: number): string =>
  COUNTED.has(name) || value < 10 ? String(value) : `0x${value.toString(16)}`
