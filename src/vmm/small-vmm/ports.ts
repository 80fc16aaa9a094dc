/** The ports by which a guest talks to the small VMM: docs/guest-contract.md. */

/** OUT byte: one character of the console. */
export const PORT_CONSOLE = 0xe9
/** OUT dword: the guest has finished; the low byte is its status. */
export const PORT_EXIT = 0x501
/** OUT dword: a good moment to save the guest. */
export const PORT_CHECKPOINT = 0x502
