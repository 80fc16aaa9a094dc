/** Rules that the model does not meet, or that no test can prove, each with the reason. Empty at best. */
export const UNMET: Readonly<Record<string, string>> = {
  'PERM-53':
    'no 32-bit signal frame is modelled: a handler of 32-bit code never runs (it gets SIGSEGV, and `32-bit signal handlers` is listed when the program ends), so there is nothing to return from; the 112-byte header that PERM-45 and PERM-46 speak of is missing with it',
  'CET-25':
    'no task switch is modelled: far branches to a TSS or a task gate, and IRET with NT set, are #GP in the guest, so KVM is never asked to emulate one',
  'SLD-39':
    'KVM is modelled with nested=0, and with nested=1 only its capability MSRs: no guest enters VMX operation, so there is no L2 whose #AC L0 could keep',
}
