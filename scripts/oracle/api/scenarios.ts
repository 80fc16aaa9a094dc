import { setCpuid2, setCpuid2AfterRun } from './cpuid-lists.ts'
import { guestAmx } from './guest-amx.ts'
import { guestMisc, guestRegisters } from './guest-scenarios.ts'
import { capabilities, freshVcpu, msrLists, permissionOrder, supportedCpuid } from './kvm-queries.ts'
import { restoreOrder } from './order.ts'
import { altStacks, altStacksAfterRequest, badGets, exec, forks, request, sequence, threads } from './permissions.ts'
import { setMsrValues, setXcrs } from './registers.ts'
import type { Session } from './session.ts'
import { setXsave } from './xsave-variants.ts'

type Scenario = (session: Session, ...parts: string[]) => void

/** Scenarios by the beginning of their names; the parts that follow, split at dots, are arguments. Longest match wins. */
const SCENARIOS: Readonly<Record<string, Scenario>> = {
  'perm.initial': (session) => session.gets(),
  'perm.bad_pointer_and_unknown_ops': badGets,
  'perm.req': request,
  'perm.seq': sequence,
  'perm.thread': threads,
  'perm.fork': forks,
  'perm.exec': exec,
  'sigaltstack.without_permission': altStacks,
  'sigaltstack.after_permission': altStacksAfterRequest,
  'kvm.caps': capabilities,
  'kvm.supported_cpuid': supportedCpuid,
  'kvm.msr_lists': msrLists,
  'kvm.perm_order': permissionOrder,
  'kvm.fresh': freshVcpu,
  'kvm.set_xsave': setXsave,
  'kvm.set_xcrs': setXcrs,
  'kvm.msr': setMsrValues,
  'kvm.set_cpuid2.after_run': setCpuid2AfterRun,
  'kvm.set_cpuid2': setCpuid2,
  'kvm.order': restoreOrder,
  'danger.order': restoreOrder,
  'guest.regs': guestRegisters,
  'guest.amx': guestAmx,
  'guest.misc': guestMisc,
}

/**
 * The calls of a scenario of the driver, ready to be made; null where it is not made of calls alone: it executes instructions of
 * its own or looks at signal frames, so that only the driver program can.
 */
export function apiScenario(name: string): ((session: Session) => void) | null {
  const parts = name.split('.')
  for (let length = 3; length >= 1; length--) {
    const scenario = SCENARIOS[parts.slice(0, length).join('.')]
    if (scenario !== undefined) return (session) => scenario(session, ...parts.slice(length))
  }
  return null
}
